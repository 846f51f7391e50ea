//! `MQSPAN__SECTION__KEY` variables.
//!
//! Two underscores go after the prefix and between the levels; a level keeps its own single underscores. Case does not matter. An
//! empty variable counts as unset, as OpenTelemetry has it for its own. The value of a list is a YAML list in brackets or items
//! between commas; that of a mapping is a YAML mapping in braces, which is merged with the layers below. References and `$$` are
//! not expanded here.

use super::layer::{Findings, Layer, Writer};
use super::load::Env;

const PREFIX: &str = "MQSPAN__";

/// Ends of the variables that Kubernetes makes for a service, see `makeLinkVariables()` in its `pkg/kubelet/envvars/envvars.go`.
/// For a service named `mqspan` they have one underscore after the prefix; for one named `mqspan--x` they have two.
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

/// The layer of all variables with the prefix. Unknown keys are kept; they are reported when the merged tree is read.
pub(super) fn mqspan_layer(env: &Env, findings: &mut Findings) -> Layer {
    let mut writer = Writer::new(findings);
    let mut settings: Vec<(Vec<String>, &str, &str)> = env
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((levels(name)?, name, value)))
        .filter(|(path, ..)| !is_of_a_service(path, &writer))
        .collect();
    // A variable for a whole mapping goes before those for single keys in it.
    settings.sort_by(|a, b| (a.0.len(), a.1).cmp(&(b.0.len(), b.1)));
    let mut previous: Option<(Vec<String>, &str)> = None;
    for (path, name, value) in settings {
        if path.iter().any(String::is_empty) {
            let message = "found an empty level in the name, expected `MQSPAN__SECTION__KEY` with two underscores between the levels";
            writer.problem(&path, name, message);
            continue;
        }
        if let Some((_, other)) = previous.as_ref().filter(|(same, _)| *same == path) {
            writer.warning(format!(
                "{name}: overrides {other}, which sets the same key"
            ));
        }
        writer.text(&path, value, name);
        previous = Some((path, name));
    }
    writer.layer
}

/// The levels of a variable's name, in lower case; `None` if it has another prefix.
fn levels(name: &str) -> Option<Vec<String>> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| {
        rest.to_ascii_lowercase()
            .split("__")
            .map(str::to_owned)
            .collect()
    })
}

/// Whether a name of one level is that of a Kubernetes service and not of a section.
fn is_of_a_service(path: &[String], writer: &Writer<'_>) -> bool {
    match path {
        [level] => !writer.is_section(level) && SERVICE_ENDS.iter().any(|end| level.ends_with(end)),
        _ => false,
    }
}
