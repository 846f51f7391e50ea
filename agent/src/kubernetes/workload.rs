//! The workload that a pod belongs to, derived from the pod alone.
//!
//! A pod names its direct owner, which for a Deployment is a ReplicaSet and for
//! a CronJob a Job. The name of the Deployment or CronJob follows from the
//! owner's name by the rules of the controllers, so that no permission to read
//! ReplicaSets and Jobs is needed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use opentelemetry_semantic_conventions::attribute as semconv;

/// How long before its pod a Job can have been due. A Job can wait for quota,
/// and tries again when pods fail.
const MAX_LATE_S: i64 = 31 * 24 * 3600;

/// How far the scheduled time may lie after the pod's creation, because clocks differ.
const MAX_EARLY_S: i64 = 600;

/// Attribute key and name of the top-level workload, then of the pod's direct
/// owner if that is another. Empty for a pod without an owner.
pub(super) fn workloads(pod: &ObjectMeta) -> Vec<(&'static str, String)> {
    let owners = pod.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        return Vec::new();
    };
    let name = owner.name.as_str();
    let (key, above) = match (group(owner), owner.kind.as_str()) {
        ("apps", "ReplicaSet") => (
            semconv::K8S_REPLICASET_NAME,
            deployment(name, pod.labels.as_ref()).map(|name| (semconv::K8S_DEPLOYMENT_NAME, name)),
        ),
        ("apps", "StatefulSet") => (semconv::K8S_STATEFULSET_NAME, None),
        ("apps", "DaemonSet") => (semconv::K8S_DAEMONSET_NAME, None),
        ("batch", "Job") => (
            semconv::K8S_JOB_NAME,
            cron_job(name, created_s(pod)).map(|name| (semconv::K8S_CRONJOB_NAME, name)),
        ),
        _ => return Vec::new(),
    };
    above
        .into_iter()
        .chain([(key, name)])
        .map(|(key, name)| (key, name.to_owned()))
        .collect()
}

/// The part of `apiVersion` before the version.
fn group(owner: &OwnerReference) -> &str {
    owner
        .api_version
        .rsplit_once('/')
        .map_or("", |(group, _)| group)
}

fn created_s(pod: &ObjectMeta) -> Option<i64> {
    Some(pod.creation_timestamp.as_ref()?.0.as_second())
}

/// The Deployment controller names a ReplicaSet `<deployment>-<hash>` and sets
/// the hash as a label of its pods (`getNewReplicaSet()` in
/// `pkg/controller/deployment/sync.go`). Other owners of ReplicaSets, such as a
/// Rollout of Argo, have a label of their own.
fn deployment<'a>(
    replica_set: &'a str,
    labels: Option<&BTreeMap<String, String>>,
) -> Option<&'a str> {
    let hash = labels?.get("pod-template-hash")?;
    let name = replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    (!hash.is_empty() && !name.is_empty()).then_some(name)
}

/// The CronJob controller names a Job `<cron job>-<scheduled time in minutes
/// since 1970>` (`getJobName()` in `pkg/controller/cronjob/utils.go`). Digits
/// that are no plausible time for this pod are part of a name that someone
/// chose, such as `backup-20261124`.
fn cron_job(job: &str, pod_created_s: Option<i64>) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    if name.is_empty() || !minutes.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let due_s = minutes.parse::<i64>().ok()?.checked_mul(60)?;
    let late_s = pod_created_s?.checked_sub(due_s)?;
    (-MAX_EARLY_S..=MAX_LATE_S)
        .contains(&late_s)
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 24 November 2026, 10:00:07 UTC.
    const CREATED: &str = "2026-11-24T10:00:07Z";
    /// That day at 10:00 in minutes.
    const DUE: i64 = 29_925_240;

    fn pod(api_version: &str, kind: &str, owner: &str, hash: Option<&str>) -> ObjectMeta {
        serde_json::from_value(serde_json::json!({
            "creationTimestamp": CREATED,
            "labels": hash.map(|hash| serde_json::json!({"pod-template-hash": hash})),
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "no-controller", "uid": "1"},
                {"apiVersion": api_version, "kind": kind, "name": owner, "uid": "2", "controller": true}
            ]
        }))
        .unwrap()
    }

    /// Version and kind of the owner, its name, the pod's hash; what is found.
    type Row<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Found<'a>);
    type Found<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn names_of_owners_and_of_theirs() {
        let due = format!("backup-{DUE}");
        let old = format!("backup-{}", DUE - 32 * 24 * 60);
        let ahead = format!("backup-{}", DUE + 11);
        let nameless = format!("-{DUE}");
        let hash = Some("6bd65c67cf");
        #[rustfmt::skip]
        let table: [Row<'_>; 15] = [
            ("apps/v1", "ReplicaSet", "shop-api-6bd65c67cf", hash,
                &[("k8s.deployment.name", "shop-api"), ("k8s.replicaset.name", "shop-api-6bd65c67cf")]),
            ("apps/v1", "ReplicaSet", "shop-api-6bd65c67cf", None, &[("k8s.replicaset.name", "shop-api-6bd65c67cf")]),
            ("apps/v1", "ReplicaSet", "shop-api-6bd65c67cf", Some(""), &[("k8s.replicaset.name", "shop-api-6bd65c67cf")]),
            ("apps/v1", "ReplicaSet", "shop-api", hash, &[("k8s.replicaset.name", "shop-api")]),
            ("apps/v1", "ReplicaSet", "-6bd65c67cf", hash, &[("k8s.replicaset.name", "-6bd65c67cf")]),
            ("apps/v1", "StatefulSet", "db", None, &[("k8s.statefulset.name", "db")]),
            ("apps/v1", "DaemonSet", "log", None, &[("k8s.daemonset.name", "log")]),
            ("batch/v1", "Job", due.as_str(), None, &[("k8s.cronjob.name", "backup"), ("k8s.job.name", due.as_str())]),
            ("batch/v1", "Job", old.as_str(), None, &[("k8s.job.name", old.as_str())]),
            ("batch/v1", "Job", ahead.as_str(), None, &[("k8s.job.name", ahead.as_str())]),
            ("batch/v1", "Job", nameless.as_str(), None, &[("k8s.job.name", nameless.as_str())]),
            ("batch/v1", "Job", "backup-20261124", None, &[("k8s.job.name", "backup-20261124")]),
            ("batch/v1", "Job", "migrate", None, &[("k8s.job.name", "migrate")]),
            // Kinds of others, and of this name in another group.
            ("v1", "Node", "n1", None, &[]),
            ("example.org/v1", "Job", "j", None, &[]),
        ];
        for (api_version, kind, owner, hash, expected) in table {
            let found = workloads(&pod(api_version, kind, owner, hash));
            let found: Vec<_> = found.iter().map(|(k, v)| (*k, v.as_str())).collect();
            assert_eq!(found, expected, "{api_version} {kind} {owner}");
        }
        assert_eq!(workloads(&ObjectMeta::default()), []);
    }
}
