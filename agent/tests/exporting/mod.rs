//! A running exporter, the calls to feed it, and its collectors.

#![allow(dead_code, reason = "each test uses its part")]

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use mqspan::internals::config::{self, Correlation, Exporters, HumanDuration, Otlp, Retry};
use mqspan::internals::encode::{self, EncodedResource};
use mqspan::internals::event::Call;
use mqspan::internals::export::counters::SinkCounts;
use mqspan::internals::export::{Exporter, Left, SpanSender};
use mqspan::internals::span::Span;
use mqspan_testkit::collector::{Answer, Collector, Options, Protocol, Seen};
use tonic::transport::ServerTlsConfig;

use crate::reference;

/// An upper bound on every wait in these tests.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Makes two tests of each function that takes a protocol.
#[allow(unused_macros, reason = "each test uses its part")]
macro_rules! over_each_protocol {
    ($($test:ident),+ $(,)?) => {
        mod over_grpc {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(mqspan_testkit::collector::Protocol::Grpc).await;
                }
            )+
        }

        mod over_http {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(mqspan_testkit::collector::Protocol::Http).await;
                }
            )+
        }
    };
}
#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use over_each_protocol;

pub(crate) fn collector(protocol: Protocol) -> Collector {
    Collector::start_with(Options {
        protocol,
        ..Options::default()
    })
    .unwrap()
}

pub(crate) fn collector_on(protocol: Protocol, address: SocketAddr) -> Collector {
    Collector::start_with(Options {
        protocol,
        address: Some(address),
        ..Options::default()
    })
    .unwrap()
}

pub(crate) fn secure_collector(protocol: Protocol, tls: ServerTlsConfig) -> Collector {
    Collector::start_with(Options {
        protocol,
        tls: Some(tls),
        ..Options::default()
    })
    .unwrap()
}

/// A collector that gives these answers first, and then accepts.
pub(crate) fn scripted(protocol: Protocol, script: impl IntoIterator<Item = Answer>) -> Collector {
    let collector = collector(protocol);
    collector.answer_next(script);
    collector
}

/// Waits until `so` holds for what the collector has seen.
pub(crate) async fn until(collector: &Collector, so: impl Fn(&Seen) -> bool) {
    collector.wait_until(LONG, so).await.unwrap();
}

pub(crate) fn fast_retry() -> Retry {
    Retry {
        initial_interval: HumanDuration::millis(1),
        max_interval: HumanDuration::millis(20),
        ..Retry::default()
    }
}

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = RefCell::default();
}

struct ToThisThread;

impl io::Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the test's thread, which also drives its runtime, has logged since [`Log::begin`].
pub(crate) struct Log;

impl Log {
    /// Installs one subscriber for all tests. With one per test, an event that a thread without a
    /// subscriber reached first would never be logged.
    pub(crate) fn begin() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(|| ToThisThread)
                .init();
        });
        LOGGED.take();
        Self
    }

    pub(crate) fn count(&self, message: &str) -> usize {
        self.text().matches(message).count()
    }

    pub(crate) fn text(&self) -> String {
        LOGGED.with_borrow(|logged| String::from_utf8(logged.clone()).unwrap())
    }
}

/// Settings with fast retries.
pub(crate) fn settings(protocol: Protocol, address: SocketAddr) -> Otlp {
    Otlp {
        protocol: match protocol {
            Protocol::Grpc => config::Protocol::Grpc,
            Protocol::Http => config::Protocol::HttpProtobuf,
        },
        endpoint: format!("http://{address}").parse().unwrap(),
        retry_on_failure: fast_retry(),
        ..Otlp::default()
    }
}

/// A running exporter and the way to feed it.
pub(crate) struct Agent {
    pub(crate) sender: SpanSender,
    pub(crate) exporter: Exporter,
    resource: Arc<EncodedResource>,
    /// Spans pushed so far.
    pushed: u64,
}

impl Agent {
    pub(crate) fn start(otlp: Otlp) -> Self {
        Self::start_with(&Exporters {
            otlp,
            ..Exporters::default()
        })
    }

    pub(crate) fn start_with(config: &Exporters) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (sender, exporter) = Exporter::start(config, &runtime).unwrap();
        Self {
            sender,
            exporter,
            resource: Arc::new(encode::resource(&reference::resource(1))),
            pushed: 0,
        }
    }

    /// Pushes one batch of `spans` spans.
    pub(crate) fn push(&mut self, spans: usize) {
        self.push_calls(&vec![reference::receive(); spans]);
    }

    pub(crate) fn push_calls(&mut self, calls: &[Call<'_>]) {
        self.hold(calls);
        self.sender.flush();
    }

    /// Adds spans to the batch that is being filled.
    pub(crate) fn hold(&mut self, calls: &[Call<'_>]) {
        let resource = Arc::clone(&self.resource);
        self.hold_with(&resource, calls);
    }

    /// Adds calls of process `pid` to the batch that is being filled.
    pub(crate) fn hold_as(&mut self, pid: u32, calls: &[Call<'_>]) {
        let resource = Arc::new(encode::resource(&reference::resource(pid)));
        let mut calls = calls.to_vec();
        for call in &mut calls {
            call.process.pid = pid;
        }
        self.hold_with(&resource, &calls);
    }

    fn hold_with(&mut self, resource: &Arc<EncodedResource>, calls: &[Call<'_>]) {
        let settings = reference::settings(Correlation::Parent);
        self.pushed += calls.len() as u64;
        for call in calls {
            let span = Span::new(call, &settings, reference::unix_ns(call));
            self.sender
                .push(Instant::now(), (call.process, None), resource, &span);
        }
    }

    /// Shuts down and checks that every span is accounted for.
    pub(crate) async fn finish(self, deadline: Duration) -> (SinkCounts, Left) {
        let sink = self.exporter.otlp().unwrap().clone();
        drop(self.sender);
        let left = self.exporter.shutdown(deadline).await;
        let counters = sink.counters();
        assert_eq!(
            self.pushed + counters.recovered,
            counters.exports.exported
                + counters.rejected_total()
                + counters.lost.total()
                + left.otlp_spans,
            "{counters:?} {left:?}"
        );
        assert_eq!(counters.exports.in_flight, 0);
        // The metrics of processor and exporter tell the same, by stage.
        let failed: u64 = counters.exports.failures.values().sum();
        let lost = counters.lost.total() - counters.dropped.total();
        assert_eq!(failed, counters.rejected_total() + lost, "{counters:?}");
        let unsent = counters.processed - counters.exports.exported - failed;
        assert!(unsent <= left.otlp_spans, "{counters:?} {left:?}");
        (counters, left)
    }

    /// Shuts down once everything is sent.
    pub(crate) async fn drain(self) -> SinkCounts {
        let (counters, left) = self.finish(LONG).await;
        assert_eq!(left, Left::default());
        counters
    }
}
