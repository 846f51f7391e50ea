//! The variables by which other programs find a proxy.

use super::Config;
use super::load::Env;

/// What to say of a variable that asks for a proxy to this collector: there is
/// none, and the connection is direct.
#[must_use]
pub fn proxy_warning(config: &Config, env: &Env) -> Option<String> {
    let otlp = &config.exporters.otlp;
    let of_scheme = if otlp.endpoint.is_tls() {
        "HTTPS_PROXY"
    } else {
        "HTTP_PROXY"
    };
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let either = |name: &str| {
        let lower = name.to_ascii_lowercase();
        [name.to_owned(), lower]
            .into_iter()
            .find(|name| set(name).is_some())
    };
    let variable = either(of_scheme).or_else(|| either("ALL_PROXY"))?;
    let exempt = either("NO_PROXY").is_some_and(|name| {
        let mut names = set(&name).unwrap_or_default().split(',');
        names.any(|name| covers(name.trim(), otlp.endpoint.host()))
    });
    (otlp.enabled && !exempt).then(|| {
        format!(
            "the environment variable `{variable}` has no effect: the agent connects to {} without a proxy",
            otlp.endpoint
        )
    })
}

/// Whether an entry of `NO_PROXY` means this host, itself or as one of a domain.
fn covers(entry: &str, host: &str) -> bool {
    let domain = entry.trim_start_matches('.').to_ascii_lowercase();
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    match host.strip_suffix(&domain) {
        _ if entry == "*" => true,
        Some(rest) => !domain.is_empty() && (rest.is_empty() || rest.ends_with('.')),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Overrides;
    use super::super::tests::load_text;
    use super::*;

    #[test]
    fn a_proxy_that_would_be_used_is_named() {
        for (endpoint, variables, named) in [
            (
                "https://c.example:1",
                &[("HTTPS_PROXY", "http://p:1")][..],
                Some("HTTPS_PROXY"),
            ),
            (
                "https://c.example:1",
                &[("https_proxy", "http://p:1")],
                Some("https_proxy"),
            ),
            ("https://c.example:1", &[("HTTP_PROXY", "http://p:1")], None),
            ("https://c.example:1", &[("HTTPS_PROXY", "")], None),
            (
                "http://c.example:1",
                &[("http_proxy", "http://p:1")],
                Some("http_proxy"),
            ),
            (
                "http://c.example:1",
                &[("ALL_PROXY", "http://p:1")],
                Some("ALL_PROXY"),
            ),
            (
                "http://c.example:1",
                &[("http_proxy", "p:1"), ("NO_PROXY", "a, .example")],
                None,
            ),
            (
                "http://c.example:1",
                &[("http_proxy", "p:1"), ("no_proxy", "C.EXAMPLE")],
                None,
            ),
            (
                "http://c.example:1",
                &[("http_proxy", "p:1"), ("no_proxy", "*")],
                None,
            ),
            (
                "http://c.example:1",
                &[("http_proxy", "p:1"), ("no_proxy", "ample,,")],
                Some("http_proxy"),
            ),
            (
                "http://[::1]:1",
                &[("http_proxy", "p:1"), ("no_proxy", "::1")],
                None,
            ),
        ] {
            let text = format!("exporters: {{otlp: {{endpoint: '{endpoint}'}}}}");
            let mut config = load_text(&text, &[], &Overrides::new()).unwrap().config;
            let env: Env = variables.iter().copied().collect();
            let said = proxy_warning(&config, &env);
            let named = named.map(|name| format!("`{name}`"));
            assert_eq!(said.is_some(), named.is_some(), "{endpoint} {variables:?}");
            assert!(
                said.unwrap_or_default()
                    .contains(&named.unwrap_or_default())
            );
            config.exporters.otlp.enabled = false;
            assert_eq!(proxy_warning(&config, &env), None);
        }
    }
}
