//! The address of the collector.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::uri::{Authority, Uri};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::{REDACTED, Secret};
use crate::percent::percent_decode;

/// The forms of an endpoint, for error messages.
const FORM: &str = "`http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`";

/// The port of OTLP over HTTP, a protocol that the agent does not speak.
const OTLP_HTTP_PORT: u16 = 4318;

/// The address of an OTLP/gRPC server. `Debug` and `Display` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `None` until [`Self::settle`], if the text has no scheme.
    tls: Option<bool>,
    userinfo: Option<Secret>,
    host: String,
    port: u16,
    /// What follows the port. It has no meaning and is only warned about.
    path: String,
}

impl Endpoint {
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.unwrap_or(true)
    }

    /// Host name or address; an IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port, at least 1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
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

    /// `http://HOST:PORT` or `https://HOST:PORT`, without user name and password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme(), self.host, self.port)
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    /// Lets `tls.insecure` choose between `http` and `https` if there is no
    /// scheme, as in the Collector. Returns warnings about what is allowed but
    /// probably not meant.
    pub(super) fn settle(&mut self, insecure: bool) -> Vec<String> {
        let is_https = self.tls == Some(true);
        self.tls.get_or_insert(!insecure);
        let path = std::mem::take(&mut self.path);
        let mut odd = Vec::new();
        if !["", "/"].contains(&path.as_str()) {
            odd.push(format!(
                "the path `{path}` is ignored, because OTLP over gRPC has none"
            ));
        }
        if self.port == OTLP_HTTP_PORT {
            odd.push(
                "port 4318 is usually OTLP over HTTP; the agent speaks OTLP over gRPC, usually port 4317"
                    .into(),
            );
        }
        if insecure && is_https {
            odd.push("`tls.insecure` has no effect, because the endpoint says `https`".into());
        }
        odd
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
        let bracketed = with_brackets(text);
        let text = bracketed.as_deref().unwrap_or(text);
        let unix = ["unix:", "unix-abstract:"];
        if unix.iter().any(|scheme| text.starts_with(scheme)) {
            return Err(format!(
                "found `{shown}`, expected {FORM}; Unix sockets are not supported, let the collector listen on TCP"
            ));
        }
        let wrong = || format!("found `{shown}`, expected {FORM}");
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
            host: authority.host().to_owned(),
            port,
            path,
        })
    }
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
    Some((uri.authority()?.clone(), path.unwrap_or_default()))
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
    /// `http://localhost:4317`, the default of the OTLP/gRPC exporters.
    fn default() -> Self {
        Self {
            tls: Some(false),
            userinfo: None,
            host: "localhost".into(),
            port: 4317,
            path: String::new(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let userinfo = match self.userinfo {
            Some(_) => format!("{REDACTED}@"),
            None => String::new(),
        };
        let scheme = self.scheme();
        write!(f, "{scheme}://{userinfo}{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
