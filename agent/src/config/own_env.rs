//! `MQSPAN__SECTION__KEY` variables.
//!
//! Two underscores follow the prefix and separate the levels; a level may
//! contain single underscores. Case does not matter. An empty variable counts
//! as unset, as for OpenTelemetry's own variables. The value of a list is a
//! YAML list in brackets or comma-separated items. That of a mapping is a YAML
//! mapping in braces, which is merged with the layers below. References and
//! `$$` are not expanded here.

use super::env::Env;
use super::node::{KeyPath, Layers, is_section};

const PREFIX: &str = "MQSPAN__";

/// Suffixes of the variables that Kubernetes sets for a service, see
/// `makeLinkVariables()` in its `pkg/kubelet/envvars/envvars.go`. For a service
/// named `mqspan` they have one underscore after the prefix; for one named
/// `mqspan--x` they have two.
const SERVICE_ENDS: &[&str] = &[
    "_service_host",
    "_service_port",
    "_port",
    "_tcp",
    "_udp",
    "_sctp",
    "_addr",
    "_proto",
];

/// Adds the layer of all variables with the prefix. Unknown keys are kept, and
/// reported when the tree is read.
pub(super) fn own_layer(env: &Env, layers: &mut Layers) {
    let mut settings: Vec<(KeyPath, &str, &str)> = env
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((levels(name)?, name, value)))
        .filter(|(path, ..)| !is_of_a_service(path))
        .collect();
    // Apply a variable for a whole mapping before those for single keys in it.
    settings.sort_by(|a, b| (a.0.len(), a.1).cmp(&(b.0.len(), b.1)));
    let mut previous: Option<(KeyPath, &str)> = None;
    for (path, name, value) in settings {
        if path.iter().any(String::is_empty) {
            let message = "found an empty level in the name, expected `MQSPAN__SECTION__KEY` with two underscores between the levels";
            layers.problem(&path, name, message);
            continue;
        }
        if let Some((_, other)) = previous.as_ref().filter(|(same, _)| *same == path) {
            layers.warnings.push(format!(
                "{name}: overrides {other}, which sets the same key"
            ));
        }
        layers.text(&path, value, name);
        previous = Some((path, name));
    }
}

/// The levels of a variable's name, in lower case; `None` if it has another prefix.
fn levels(name: &str) -> Option<KeyPath> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| {
        rest.to_ascii_lowercase()
            .split("__")
            .map(str::to_owned)
            .collect()
    })
}

/// Whether a name of one level is that of a Kubernetes service and not of a section.
fn is_of_a_service(path: &[String]) -> bool {
    match path {
        [level] => !is_section(level) && SERVICE_ENDS.iter().any(|end| level.ends_with(end)),
        _ => false,
    }
}
