//! The rules about `exporters.otlp`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::header::{HeaderName, HeaderValue};

use super::raw::{RawBatch, RawOtlp, RawRetry, RawSendingQueue, RawTls};
use super::units::Size;
use super::validate::{Checks, off_if_zero, some_if_given};
use super::{Batch, Endpoint, Otlp, Retry, Secret, SendingQueue, Storage, Tls};

/// Headers that gRPC sets itself.
const RESERVED_HEADERS: &[&str] = &["content-type", "content-length", "host", "te", "connection"];

impl Checks {
    pub(super) fn otlp(&mut self, raw: RawOtlp) -> Otlp {
        let key = "exporters.otlp.endpoint";
        let endpoint = match Endpoint::parse(&raw.endpoint, raw.tls.insecure) {
            Ok((endpoint, warnings)) => {
                for warning in warnings {
                    self.warning(key, warning);
                }
                endpoint
            }
            Err(message) => {
                self.problem(key, message);
                Endpoint::default()
            }
        };
        if endpoint.userinfo().is_some() {
            if raw.headers.contains_key("authorization") {
                self.warning(
                    key,
                    "user name and password have no effect, because `exporters.otlp.headers` has `authorization`",
                );
            } else if !endpoint.is_tls() {
                self.warning(
                    key,
                    "user name and password go over the wire as they are, because the endpoint is not encrypted; write `https://`",
                );
            }
        }
        let max_request_size = self.size("exporters.otlp.max_request_size", raw.max_request_size);
        Otlp {
            enabled: raw.enabled,
            headers: self.headers(raw.headers),
            compression: raw.compression,
            timeout: self.above_zero("exporters.otlp.timeout", raw.timeout),
            max_request_size_bytes: max_request_size,
            tls: self.tls(raw.tls, &endpoint),
            retry_on_failure: self.retry(&raw.retry_on_failure),
            sending_queue: self.sending_queue(raw.sending_queue, raw.batch.max_size),
            batch: self.batch(&raw.batch, raw.max_request_size),
            endpoint,
            proxy: None,
        }
    }

    fn headers(&mut self, headers: BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
        for (name, value) in &headers {
            let path = ["exporters", "otlp", "headers", name].map(str::to_owned);
            let message = if HeaderName::from_bytes(name.as_bytes()).is_err() {
                "found a name that is no HTTP header, expected letters, digits and `-`, such as `x-api-key`"
            } else if name.starts_with("grpc-") || RESERVED_HEADERS.contains(&name.as_str()) {
                "found a header that gRPC sets itself; leave it out"
            } else if name.ends_with("-bin") {
                "found a binary header, expected a name that does not end in `-bin`"
            } else if HeaderValue::from_str(value.expose()).is_err() || !value.expose().is_ascii() {
                "found a value with characters that a header cannot hold, expected printable ASCII"
            } else {
                continue;
            };
            self.problems.push((path.to_vec(), message.into()));
        }
        headers
    }

    fn tls(&mut self, raw: RawTls, endpoint: &Endpoint) -> Tls {
        let (cert, key) = (!raw.cert_file.is_empty(), !raw.key_file.is_empty());
        self.require(key || !cert, "exporters.otlp.tls.cert_file", || {
            "found a certificate without a key, expected both; set `exporters.otlp.tls.key_file`"
                .into()
        });
        self.require(cert || !key, "exporters.otlp.tls.key_file", || {
            "found a key without a certificate, expected both; set `exporters.otlp.tls.cert_file`"
                .into()
        });
        if !endpoint.is_tls() && (cert || key || !raw.ca_file.is_empty()) {
            let message = "the files have no effect, because the endpoint is not encrypted; write `https://` in `exporters.otlp.endpoint`";
            self.warning("exporters.otlp.tls", message);
        }
        Tls {
            insecure: raw.insecure,
            ca_file: some_if_given(raw.ca_file).map(PathBuf::from),
            cert_file: some_if_given(raw.cert_file).map(PathBuf::from),
            key_file: some_if_given(raw.key_file).map(PathBuf::from),
            server_name_override: some_if_given(raw.server_name_override),
            reload_interval: off_if_zero(raw.reload_interval),
        }
    }

    fn retry(&mut self, raw: &RawRetry) -> Retry {
        let at = |name: &str| format!("exporters.otlp.retry_on_failure.{name}");
        let initial = self.above_zero(&at("initial_interval"), raw.initial_interval);
        let ordered = raw.initial_interval <= raw.max_interval;
        self.require(ordered, &at("initial_interval"), || {
            format!(
                "found {}, expected at most `max_interval`, which is {}",
                raw.initial_interval, raw.max_interval
            )
        });
        let grows = raw.multiplier >= 1.0 && raw.multiplier.is_finite();
        self.require(grows, &at("multiplier"), || {
            format!("found {}, expected a number of at least 1", raw.multiplier)
        });
        let max_elapsed_time = off_if_zero(raw.max_elapsed_time);
        let outlasts = max_elapsed_time.is_none_or(|elapsed| elapsed >= raw.max_interval.0);
        self.require(outlasts, &at("max_elapsed_time"), || {
            format!(
                "found {}, expected at least `max_interval`, which is {}, or 0s to retry for ever",
                raw.max_elapsed_time, raw.max_interval
            )
        });
        Retry {
            enabled: raw.enabled,
            initial_interval: initial,
            max_interval: raw.max_interval.0,
            multiplier: raw.multiplier,
            randomization_factor: self.share(&at("randomization_factor"), raw.randomization_factor),
            max_elapsed_time,
        }
    }

    fn sending_queue(&mut self, raw: RawSendingQueue, batch: Size) -> SendingQueue {
        let at = |name: &str| format!("exporters.otlp.sending_queue.{name}");
        for (name, size) in [
            ("queue_size", raw.queue_size),
            ("storage.max_size", raw.storage.max_size),
        ] {
            self.require(size >= batch, &at(name), || {
                format!("found {size}, expected room for one batch; `exporters.otlp.batch.max_size` is {batch}")
            });
        }
        let consumers = raw.num_consumers;
        self.require(
            (1..=1024).contains(&consumers),
            &at("num_consumers"),
            || format!("found {consumers}, expected 1 to 1024"),
        );
        SendingQueue {
            queue_size_bytes: raw.queue_size.0,
            num_consumers: consumers,
            storage: Storage {
                directory: some_if_given(raw.storage.directory).map(PathBuf::from),
                max_size_bytes: raw.storage.max_size.0,
            },
        }
    }

    fn batch(&mut self, raw: &RawBatch, max_request_size: Size) -> Batch {
        let key = "exporters.otlp.batch.max_size";
        self.require(raw.max_size <= max_request_size, key, || {
            format!(
                "found {}, expected at most `exporters.otlp.max_request_size`, which is {max_request_size}",
                raw.max_size
            )
        });
        Batch {
            flush_timeout: self.above_zero("exporters.otlp.batch.flush_timeout", raw.flush_timeout),
            max_size_bytes: self.size(key, raw.max_size),
        }
    }
}
