//! The proxy to the collector, from the variables that curl and gRPC use.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::env::Env;
use super::{Address, Endpoint};

/// A proxy that tunnels connections by HTTP CONNECT. `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Its address, `http://HOST:PORT`, without user name and password.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Basic authorization, from user name and password in the variable.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The proxy for this collector: from `HTTPS_PROXY` or `HTTP_PROXY`, by the
    /// endpoint's scheme, else from `ALL_PROXY`, unless `NO_PROXY` names the
    /// host, with or without the port. `localhost` and loopback addresses never
    /// use a proxy, as with gRPC in Go.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the variable.
    pub(super) fn to(endpoint: &Endpoint, env: &Env) -> Result<Option<Self>, String> {
        let Address::Tcp { host, port } = endpoint.address() else {
            return Ok(None);
        };
        let set = |name: &str| {
            [name.to_ascii_lowercase(), name.to_owned()]
                .into_iter()
                .find_map(|name| {
                    env.get(&name)
                        .filter(|value| !value.is_empty())
                        .map(|value| (name, value))
                })
        };
        let of_scheme = if endpoint.is_tls() {
            "HTTPS_PROXY"
        } else {
            "HTTP_PROXY"
        };
        let Some((variable, value)) = set(of_scheme).or_else(|| set("ALL_PROXY")) else {
            return Ok(None);
        };
        let unusable = |why: &str| {
            format!(
                "{variable}: {why}, so {endpoint} is connected to without a proxy; a proxy is `http://HOST:PORT`"
            )
        };
        let exempt = set("NO_PROXY").map_or("", |(_, value)| value);
        let destination: Uri = endpoint
            .origin()
            .parse()
            .map_err(|_| unusable("found no proxy for this endpoint"))?;
        if is_here(host) {
            return Ok(None);
        }
        let proxy_unless = |exempt: &str| {
            let matcher = Matcher::builder().all(value).no(exempt).build();
            matcher.intercept(&destination)
        };
        let Some(proxy) = proxy_unless("") else {
            return Err(unusable("found no address of a proxy"));
        };
        let of_port = |entry: &str| match entry.trim().rsplit_once(':') {
            Some((host, its_port)) if !host.contains(':') => {
                (its_port.parse() == Ok(*port)).then(|| host.to_owned())
            }
            _ => Some(entry.trim().to_owned()),
        };
        let exempt: Vec<_> = exempt.split(',').filter_map(of_port).collect();
        if proxy_unless(&exempt.join(",")).is_none() {
            return Ok(None);
        }
        if proxy.uri().scheme_str() != Some("http") {
            let scheme = proxy.uri().scheme_str().unwrap_or_default();
            return Err(unusable(&format!(
                "proxies at {scheme}:// are not supported"
            )));
        }
        Ok(Some(Self {
            uri: proxy.uri().clone(),
            authorization: proxy.basic_auth().cloned(),
        }))
    }
}

/// Whether a host is `localhost` or a loopback address.
fn is_here(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::Overrides;
    use super::super::load::load;
    use super::*;

    /// The proxy of an endpoint and the warnings about it.
    fn of(endpoint: &str, variables: &[(&str, &str)]) -> (Option<Proxy>, Vec<String>) {
        let env: Env = variables.iter().copied().collect();
        let overrides = Overrides::new().set("--endpoint", "exporters.otlp.endpoint", endpoint);
        let loaded = load(None, &overrides, &env).unwrap();
        (loaded.config.exporters.otlp.proxy, loaded.warnings)
    }

    #[test]
    fn the_scheme_and_the_exemptions_decide() {
        let http = "http://c.example:4317";
        let https = "https://c.example:4317";
        let both = [("HTTP_PROXY", "http://plain:1"), ("HTTPS_PROXY", "tls:2")];
        for (endpoint, variables, wanted) in [
            (http, &both[..], Some("http://plain:1/")),
            (https, &both, Some("http://tls:2/")),
            (
                http,
                &[("http_proxy", "p:1"), ("HTTP_PROXY", "q:1")],
                Some("http://p:1/"),
            ),
            (https, &[("HTTP_PROXY", "p:1")], None),
            (
                https,
                &[("HTTPS_PROXY", ""), ("ALL_PROXY", "p:1")],
                Some("http://p:1/"),
            ),
            (
                http,
                &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "a, .example")],
                None,
            ),
            (
                http,
                &[("HTTP_PROXY", "p:1"), ("no_proxy", "C.EXAMPLE")],
                None,
            ),
            (http, &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "*")], None),
            (
                http,
                &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "ample,,")],
                Some("http://p:1/"),
            ),
            (
                "http://10.1.2.3:1",
                &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "10.0.0.0/8")],
                None,
            ),
            (
                "http://[2001:db8::1]:1",
                &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "2001:db8::/32")],
                None,
            ),
            (
                "http://c.example:1",
                &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "a,c.example:1")],
                None,
            ),
            (
                "http://c.example:1",
                &[("HTTP_PROXY", "p:1"), ("NO_PROXY", "c.example:2")],
                Some("http://p:1/"),
            ),
            ("http://localhost:1", &[("HTTP_PROXY", "p:1")], None),
            ("http://[::1]:1", &[("HTTP_PROXY", "p:1")], None),
            ("unix:///run/x", &[("HTTP_PROXY", "p:1")], None),
        ] {
            let (proxy, warnings) = of(endpoint, variables);
            let uri = proxy.map(|proxy| proxy.uri().to_string());
            assert_eq!(
                uri.as_deref(),
                wanted,
                "{endpoint} {variables:?} {warnings:?}"
            );
            assert!(
                !warnings.iter().any(|warning| warning.contains("PROXY")),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn user_and_password_become_a_header_and_are_not_shown() {
        let (proxy, _) = of(
            "http://c.example:1",
            &[("HTTP_PROXY", "http://user:p%40ss@p:1")],
        );
        let proxy = proxy.unwrap();
        assert_eq!(proxy.authorization().unwrap(), "Basic dXNlcjpwQHNz");
        assert_eq!(proxy.uri(), "http://p:1/");
        assert!(!format!("{proxy:?}").contains("dXNl"));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named() {
        for (value, why) in [
            ("https://user:secret@p:1", "https://"),
            ("socks5://p:1", "socks5://"),
            ("::", "no address"),
        ] {
            let (proxy, warnings) = of("http://c.example:1", &[("HTTP_PROXY", value)]);
            assert_eq!(proxy, None);
            let said = warnings.join("\n");
            assert!(said.contains("HTTP_PROXY") && said.contains(why), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
