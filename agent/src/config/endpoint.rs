//! The address of the collector.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::uri::{Authority, Uri};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::choices::Protocol;
use super::values::{REDACTED, Secret};
use crate::percent::percent_decode;

/// The forms of an endpoint, for error messages.
const FORM: &str = "`http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:///PATH`";

/// Where collectors listen by default ("OTLP/gRPC" and "OTLP/HTTP" in the
/// specification).
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;

/// The path of spans in OTLP over HTTP.
const OF_SPANS: &str = "/v1/traces";

/// The longest path of a socket, without the NUL at its end: `sun_path` of
/// `struct sockaddr_un` in `include/uapi/linux/un.h`.
const MAX_SOCKET_PATH: usize = 107;

/// What to connect to: a port above 0, or a socket by its absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        /// Name or address; an IPv6 address is in brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// The address of an OTLP server. `Debug` and `Display` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `None` until [`Self::settle`], if the text has no scheme.
    tls: Option<bool>,
    userinfo: Option<Secret>,
    address: Address,
    /// Path and query. The paths of all signals begin with the path, unless it
    /// [`is_of_spans`](Self::is_of_spans).
    path: String,
    /// Whether spans go to exactly this path.
    is_of_spans: bool,
}

impl Endpoint {
    /// The usual address of a collector on this machine.
    #[must_use]
    pub fn local(protocol: Protocol) -> Self {
        Self {
            tls: Some(false),
            userinfo: None,
            address: Address::Tcp {
                host: "localhost".into(),
                port: usual_port(protocol),
            },
            path: String::new(),
            is_of_spans: false,
        }
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.unwrap_or(true)
    }

    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// User name and password as written before the `@`, still percent-encoded.
    #[must_use]
    pub fn userinfo(&self) -> Option<&str> {
        self.userinfo.as_ref().map(Secret::expose)
    }

    /// The value of an `authorization` header with user name and password (RFC 7617).
    #[must_use]
    pub fn basic_authorization(&self) -> Option<Secret> {
        let credentials = credentials(self.userinfo()?).ok()?;
        Some(Secret::new(format!("Basic {}", BASE64.encode(credentials))))
    }

    /// `http://HOST:PORT/PATH`, `https://HOST:PORT/PATH` or `unix:///PATH`, for
    /// messages: without user name, password and query.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.address {
            Address::Tcp { .. } => self.origin() + self.path_alone(),
            Address::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    /// What the URL of a request begins with: `http://HOST:PORT`. The host of a
    /// socket is `localhost`.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = self.scheme();
        match &self.address {
            Address::Tcp { host, port } => format!("{scheme}://{host}:{port}"),
            Address::Unix(_) => format!("{scheme}://localhost"),
        }
    }

    /// Path and query of OTLP/HTTP requests, for one of `traces`, `metrics` and
    /// `logs`.
    #[must_use]
    pub fn http_path(&self, signal: &str) -> String {
        let path = self.path_alone();
        match self.is_of_spans {
            true if signal != "traces" => format!("/v1/{signal}"),
            true if path.is_empty() => format!("/{}", self.path),
            true => self.path.clone(),
            false => format!("{}/v1/{signal}", path.trim_end_matches('/')),
        }
    }

    /// The path without the query.
    fn path_alone(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    /// Makes the path that of spans, for a variable that is about them.
    pub(super) fn is_for_spans(&mut self) {
        match self.path.strip_suffix(OF_SPANS) {
            Some(before) => self.path = before.to_owned(),
            None => self.is_of_spans = true,
        }
    }

    /// Lets `tls.insecure` choose between `http` and `https` if there is no
    /// scheme, as in the Collector. Returns warnings about what is allowed but
    /// probably not meant.
    pub(super) fn settle(&mut self, insecure: bool, protocol: Protocol) -> Vec<String> {
        let is_https = self.tls == Some(true);
        self.tls.get_or_insert(!insecure);
        let mut odd = self.settle_path(protocol);
        if let Address::Tcp { port, .. } = self.address {
            let (other, its_name) = match protocol {
                Protocol::Grpc => (Protocol::HttpProtobuf, "HTTP"),
                Protocol::HttpProtobuf => (Protocol::Grpc, "gRPC"),
            };
            if port == usual_port(other) {
                odd.push(format!(
                    "port {port} is usually OTLP over {its_name}; set `exporters.otlp.protocol: {other}`, or the port of `{protocol}`, usually {}",
                    usual_port(protocol)
                ));
            }
        }
        if insecure && is_https {
            odd.push("`tls.insecure` has no effect, because the endpoint says `https`".into());
        }
        odd
    }

    fn settle_path(&mut self, protocol: Protocol) -> Vec<String> {
        let mut odd = Vec::new();
        if protocol == Protocol::Grpc {
            self.is_of_spans = false;
            let path = std::mem::take(&mut self.path);
            if !["", "/"].contains(&path.as_str()) {
                odd.push(format!(
                    "the path `{}` is ignored, because OTLP over gRPC has none",
                    masked_query(&path)
                ));
            }
        }
        if self.is_of_spans {
            return odd;
        }
        if self.path.contains('?') {
            self.path = self.path_alone().to_owned();
            odd.push("the query is ignored, because paths of requests are appended".into());
        }
        let end = self.path.trim_end_matches('/').len();
        self.path.truncate(end);
        if self.path.ends_with(OF_SPANS) {
            odd.push(format!(
                "spans go to `{}`, because the path of requests is appended; leave `{OF_SPANS}` out",
                self.http_path("traces")
            ));
        }
        odd
    }
}

fn usual_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Grpc => GRPC_PORT,
        Protocol::HttpProtobuf => HTTP_PORT,
    }
}

/// A query can hold a token.
fn masked_query(path: &str) -> String {
    match path.split_once('?') {
        Some((path, _)) => format!("{path}?{REDACTED}"),
        None => path.to_owned(),
    }
}

impl FromStr for Endpoint {
    /// A message that shows no password.
    type Err = String;

    /// A URL without a port has the port of its scheme, 80 or 443.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("found an empty endpoint, expected {FORM}"));
        }
        let shown = mask_userinfo(text);
        let wrong = || format!("found `{shown}`, expected {FORM}");
        if let Some(path) = text.strip_prefix("unix://") {
            return of_socket(path).ok_or_else(|| {
                format!(
                    "{}; PATH is absolute, up to {MAX_SOCKET_PATH} bytes",
                    wrong()
                )
            });
        }
        let bracketed = with_brackets(text);
        let text = bracketed.as_deref().unwrap_or(text);
        let (tls, (authority, path)) = match text.split_once("://") {
            None => {
                let authority = text.parse::<Authority>().map_err(|_| wrong())?;
                (None, (authority, String::new()))
            }
            Some((scheme, _)) => {
                let tls = match scheme.to_ascii_lowercase().as_str() {
                    "https" => true,
                    "http" => false,
                    _ => return Err(wrong()),
                };
                (Some(tls), split_url(text).ok_or_else(wrong)?)
            }
        };
        let port = match (authority.port_u16(), tls) {
            (Some(0), _) => return Err(wrong()),
            (Some(port), _) => port,
            (None, Some(tls)) if authority.as_str().ends_with(authority.host()) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            (None, _) => return Err(wrong()),
        };
        if authority.host().is_empty() {
            return Err(wrong());
        }
        let userinfo = authority.as_str().rsplit_once('@');
        if let Some((userinfo, _)) = userinfo {
            credentials(userinfo).map_err(|wrong| format!("found `{shown}`, {wrong}"))?;
        }
        Ok(Self {
            tls,
            userinfo: userinfo.map(|(userinfo, _)| Secret::new(userinfo)),
            address: Address::Tcp {
                host: authority.host().to_owned(),
                port,
            },
            path,
            is_of_spans: false,
        })
    }
}

fn of_socket(path: &str) -> Option<Endpoint> {
    let fits = path.starts_with('/') && path.len() <= MAX_SOCKET_PATH && !path.contains('\0');
    fits.then(|| Endpoint {
        tls: Some(false),
        userinfo: None,
        address: Address::Unix(path.into()),
        path: String::new(),
        is_of_spans: false,
    })
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Puts brackets around an IPv6 address that has none, for example from a
/// variable: `http://${env:HOST_IP}:4317`. What follows the last colon is the
/// port if the rest is an address.
fn with_brackets(text: &str) -> Option<String> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let start = authority.rfind('@').map_or(0, |at| at + 1);
    let (userinfo, host) = authority.split_at(start);
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let (address, port) = match host.rsplit_once(':') {
        Some((address, port)) if is_address(address) && port.parse::<u16>().is_ok() => {
            (address, format!(":{port}"))
        }
        _ if is_address(host) => (host, String::new()),
        _ => return None,
    };
    Some(format!("{scheme}{userinfo}[{address}]{port}{path}"))
}

/// `USER:PASSWORD`, percent-decoded (RFC 7617).
fn credentials(userinfo: &str) -> Result<String, &'static str> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let malformed = "a user name or password with a malformed `%` sequence; write `%25` for `%`";
    let user = percent_decode(user).ok_or(malformed)?;
    let password = percent_decode(password).ok_or(malformed)?;
    if user.contains(':') {
        return Err(
            "a user name with a `:`, which basic authorization cannot tell; use `exporters.otlp.headers`",
        );
    }
    if user.chars().chain(password.chars()).any(char::is_control) {
        return Err(
            "a user name or password with a control character; use `exporters.otlp.headers`",
        );
    }
    Ok(format!("{user}:{password}"))
}

/// Authority and path of a URL.
fn split_url(text: &str) -> Option<(Authority, String)> {
    let uri: Uri = text.parse().ok()?;
    let path = uri.path_and_query().map(ToString::to_string);
    // `/` stands for no path, too.
    let path = path.filter(|path| path != "/").unwrap_or_default();
    Some((uri.authority()?.clone(), path))
}

/// Replaces user name and password in `text`.
pub(super) fn mask_userinfo(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    match rest.rsplit_once('@') {
        Some((_, after)) => format!("{scheme}{REDACTED}@{after}"),
        None => text.to_owned(),
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::local(Protocol::Grpc)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address::Tcp { host, port } = &self.address else {
            return f.write_str(&self.url());
        };
        let userinfo = match self.userinfo {
            Some(_) => format!("{REDACTED}@"),
            None => String::new(),
        };
        let (scheme, path) = (self.scheme(), masked_query(&self.path));
        write!(f, "{scheme}://{userinfo}{host}:{port}{path}")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
