//! Which resource attributes are strings by the semantic conventions. An id
//! that looks like a number stays a string of digits.
//!
//! Source: the registry of the semantic conventions, version 1.44.0. A test
//! compares the attributes of all its entities.

/// Namespaces whose attributes are strings, unless they are in [`OTHERS`].
const NAMESPACES: [&str; 21] = [
    "aws",
    "azure",
    "browser",
    "cicd",
    "cloud",
    "cloudfoundry",
    "container",
    "deployment",
    "device",
    "faas",
    "gcp",
    "heroku",
    "host",
    "k8s",
    "oci",
    "os",
    "process",
    "service",
    "telemetry",
    "vcs",
    "webengine",
];

/// Integers and booleans in these namespaces.
const OTHERS: [&str; 18] = [
    "browser.mobile",
    "faas.coldstart",
    "faas.max_memory",
    "gcp.cloud_run.job.task_index",
    "host.cpu.cache.l2.size",
    "k8s.container.restart_count",
    "k8s.service.publish_not_ready_addresses",
    "process.args_count",
    "process.exit.code",
    "process.group_leader.pid",
    "process.interactive",
    "process.parent_pid",
    "process.pid",
    "process.real_user.id",
    "process.saved_user.id",
    "process.session_leader.pid",
    "process.user.id",
    "process.vpid",
];

/// Whether `path` is an entry of `resource.attributes`.
pub(super) fn is_attribute(path: &[String]) -> bool {
    matches!(path, [section, key, _] if section == "resource" && key == "attributes")
}

/// Whether `path` is an attribute that is a string, even if its value looks
/// like a number.
pub(super) fn is_string_attribute(path: &[String]) -> bool {
    let Some(name) = path.last().filter(|_| is_attribute(path)) else {
        return false;
    };
    let is_of_conventions = name
        .split_once('.')
        .is_some_and(|(namespace, _)| NAMESPACES.contains(&namespace));
    is_of_conventions && !OTHERS.contains(&name.as_str())
}
