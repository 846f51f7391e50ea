//! What a process says about itself in its environment, by the OpenTelemetry
//! specification ("Environment Variable Specification", "Resource SDK").

use opentelemetry_semantic_conventions::attribute as semconv;

use crate::percent::percent_decode;

/// Maximum length of a value in bytes. Longer ones are cut at a character boundary.
pub(super) const VALUE_MAX_BYTES: usize = 256;

/// The service that a process claims to be. Values are bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Environment {
    /// `service.name`.
    pub(super) service_name: Option<String>,
    /// `service.namespace`.
    pub(super) service_namespace: Option<String>,
    /// `service.version`.
    pub(super) service_version: Option<String>,
    /// `service.instance.id`.
    pub(super) service_instance_id: Option<String>,
}

impl Environment {
    /// Parses the bytes of `/proc/<pid>/environ`: `NAME=value`, each terminated
    /// by a zero byte. `OTEL_SERVICE_NAME` takes precedence over
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub(super) fn parse(environ: &[u8]) -> Self {
        let value_of = |name: &str| {
            environ.split(|&byte| byte == 0).find_map(|variable| {
                let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(String::from_utf8_lossy(value))
            })
        };
        let mut found = Self::default();
        if let Some(attributes) = value_of("OTEL_RESOURCE_ATTRIBUTES") {
            found.take_attributes(&attributes);
        }
        if let Some(name) = value_of("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
            found.service_name = Some(bounded(&name).to_owned());
        }
        found
    }

    /// Total length of the values.
    pub(super) fn bytes(&self) -> usize {
        [
            &self.service_name,
            &self.service_namespace,
            &self.service_version,
            &self.service_instance_id,
        ]
        .into_iter()
        .flatten()
        .map(String::len)
        .sum()
    }

    /// Parses `key=value,key=value` with percent-encoded values. If one is
    /// malformed the whole variable is ignored, as the specification requires.
    fn take_attributes(&mut self, text: &str) {
        let mut taken = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return;
            };
            let Some(value) = percent_decode(value.trim()) else {
                return;
            };
            let value = Some(bounded(&value).to_owned()).filter(|value| !value.is_empty());
            match key.trim() {
                semconv::SERVICE_NAME => taken.service_name = value,
                semconv::SERVICE_NAMESPACE => taken.service_namespace = value,
                semconv::SERVICE_VERSION => taken.service_version = value,
                semconv::SERVICE_INSTANCE_ID => taken.service_instance_id = value,
                _ => {}
            }
        }
        *self = taken;
    }
}

/// The text, cut at a character boundary if it is too long.
pub(super) fn bounded(text: &str) -> &str {
    (0..=text.len().min(VALUE_MAX_BYTES))
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(environ: &str) -> Environment {
        Environment::parse(environ.as_bytes())
    }

    #[test]
    fn the_name_of_its_own_variable_wins() {
        let both = parsed(
            "PATH=/bin\0OTEL_RESOURCE_ATTRIBUTES=service.name=a,service.namespace=shop\0OTEL_SERVICE_NAME=b\0",
        );
        assert_eq!(both.service_name.as_deref(), Some("b"));
        assert_eq!(both.service_namespace.as_deref(), Some("shop"));
        let one = parsed("OTEL_SERVICE_NAME=\0OTEL_RESOURCE_ATTRIBUTES=service.name=a%2Cb\0");
        assert_eq!(one.service_name.as_deref(), Some("a,b"));
    }

    #[test]
    fn values_are_cut_on_a_character() {
        // Two bytes each, from the second byte on.
        let name = format!("a{}", "\u{e4}".repeat(50_000));
        let encoded = format!("a{}", "%C3%A4".repeat(50_000));
        let want = format!("a{}", "\u{e4}".repeat(127));
        assert_eq!(want.len(), VALUE_MAX_BYTES - 1);
        for environ in [
            format!("OTEL_SERVICE_NAME={name}\0"),
            format!("OTEL_RESOURCE_ATTRIBUTES=service.name={encoded}\0"),
        ] {
            assert_eq!(parsed(&environ).service_name.as_deref(), Some(&*want));
        }
        let odd = [b"OTEL_SERVICE_NAME=".as_slice(), &[0xff; 600]].concat();
        let name = Environment::parse(&odd).service_name.unwrap();
        assert_eq!(name, "\u{fffd}".repeat(VALUE_MAX_BYTES / 3));
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for environ in [
            "",
            "OTEL_RESOURCE_ATTRIBUTES=service.name",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=a,b",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=%zz",
            "XOTEL_SERVICE_NAME=a",
        ] {
            assert_eq!(parsed(environ), Environment::default(), "{environ}");
        }
    }
}
