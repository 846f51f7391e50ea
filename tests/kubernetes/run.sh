#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [AGENT]: tests names of pods with a real API server, which is built here from its Go modules. There is no
# kubelet: this script writes what it would report about containers, and the "container" is a cgroup with a container's
# name. Needs root, Go, curl, jq, openssl and python3.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
agent=${1:-$root/target/release/mqspan}
cgroup=
# shellcheck source=tests/kubernetes/server.sh
. "$here/server.sh"
end_all() {
	end
	[ -z "$cgroup" ] || rmdir "$cgroup" "$(dirname "$cgroup")" || true
}
trap end_all EXIT

# Exactly the permissions that the chart gives: the test is what the agent does with them.
rules=$(python3 - "$root/helm/mqspan/templates/rbac.yaml" <<'PY'
import json, re, sys
text = open(sys.argv[1]).read().split("rules:")[1].split("---")[0]
lists = [re.findall(key + r": \[(.*?)\]", text) for key in ("apiGroups", "resources", "verbs")]
words = lambda text: [word.strip().strip('"') for word in text.split(",")]
print(json.dumps([dict(zip(("apiGroups", "resources", "verbs"), map(words, rule))) for rule in zip(*lists)]))
PY
)
echo "kubernetes: the agent may $rules"
rbac=/apis/rbac.authorization.k8s.io/v1
api POST "$rbac/clusterroles" "{\"metadata\":{\"name\":\"mqspan\"},\"rules\":$rules}" >/dev/null
for node in n1 n2; do
	api POST /api/v1/nodes "{\"metadata\":{\"name\":\"$node\"}}" >/dev/null
done
eventually 60 api GET /api/v1/namespaces/default || fail "no namespace default"

# pod NAME NODE: makes a pod of Deployment shop and prints its UID.
pod() {
	api POST /api/v1/namespaces/default/pods "{\"metadata\":{\"name\":\"$1\",\"labels\":{\"pod-template-hash\":\"6bd65c67cf\",
\"app.kubernetes.io/instance\":\"till\",\"empty\":\"\"},
\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"shop-6bd65c67cf\",\"uid\":\"r\",\"controller\":true}]},
\"spec\":{\"nodeName\":\"$2\",\"tolerations\":[{\"operator\":\"Exists\"}],\"containers\":[{\"name\":\"proxy\",\"image\":\"proxy:2\"},
{\"name\":\"api\",\"image\":\"shop:1.4\"}]}}" |
		jq -r .metadata.uid
}
pod shop-6bd65c67cf-other n2 >/dev/null
uid=$(pod shop-6bd65c67cf-abcde n1)
id=$(printf '%064d' 7)

cat >"$work/kubeconfig" <<YAML
{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
 clusters: [{name: c, cluster: {server: "$url", certificate-authority: "$work/certs/apiserver.crt"}}], users: [{name: u, user: {token: agent-token}}]}
YAML
# configure LABELS: whether labels are used.
configure() {
	cat >"$work/mqspan.yaml" <<YAML
capture: {backend: tracepoint}
filter: {include: {containers: ["$id"]}}
enrich: {kubernetes: {enabled: true, node_name: n1, labels: $1}}
exporters: {file: {path: $work/spans.jsonl}, otlp: {endpoint: "http://127.0.0.1:1"}}
metrics: {otlp: {enabled: false}}
YAML
}
configure false
export KUBECONFIG=$work/kubeconfig
# doctor WORDS: checks that the doctor says this.
doctor() {
	"$agent" doctor --config "$work/mqspan.yaml" --output json >"$work/doctor.log" || true
	grep -q "$1" "$work/doctor.log" || fail "the doctor does not say: $1"
}
doctor 'grant list and watch of pods'
"$agent" run --config "$work/mqspan.yaml" 2>"$work/agent.log" &
agent_pid=$!
pids+=("$agent_pid")
eventually 30 grep -q ' tracing' "$work/agent.log" || fail "nothing is traced"
eventually 30 grep -q 'pods are not watched' "$work/agent.log" || fail "no warning without permission"
echo "kubernetes: without permission the agent traces, and warns"
api POST "$rbac/clusterrolebindings" '{"metadata":{"name":"mqspan"},"subjects":[{"kind":"User","name":"mqspan","apiGroup":
"rbac.authorization.k8s.io"}],"roleRef":{"kind":"ClusterRole","name":"mqspan","apiGroup":"rbac.authorization.k8s.io"}}' >/dev/null
eventually 60 grep -q 'pods are watched' "$work/agent.log" || fail "pods are not watched"
doctor 'lists 1 pods of node n1'
echo "kubernetes: with permission it finds the pod of this node, and not that of another"

hierarchy=/sys/fs/cgroup
[ -e $hierarchy/cgroup.procs ] || hierarchy=$hierarchy/unified
cgroup=$hierarchy/kubepods-pod${uid//-/_}.slice/cri-containerd-$id.scope
mkdir -p "$cgroup"
python3 - "$cgroup" <<'PY' &
import ctypes, os, sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
libc = ctypes.CDLL(None)
while True:
    libc.mq_unlink(b"/mqspan-kubernetes-none")
    time.sleep(0.05)
PY
pids+=($!)

# has JQ: whether JQ is true for the resource of a span of this pod, as {key: value}.
has() {
	jq -es --arg uid "$uid" '[.[] | .resourceSpans[]?.resource.attributes | map({key, value: (.value | to_entries[0].value)}) | from_entries]
		| any(.[]; ."k8s.pod.uid" == $uid and ('"$1"'))' "$work/spans.jsonl"
}
eventually 20 has '."k8s.deployment.name" == "shop" and ."k8s.container.name" == null and ."container.image.name" == null' ||
	fail "no span with the pod's names"
echo "kubernetes: spans have the names of the pod, its container not being reported yet"
digest=registry.test/shop@sha256:$(printf '%064d' 8)
api PATCH /api/v1/namespaces/default/pods/shop-6bd65c67cf-abcde/status "{\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{
\"name\":\"api\",\"image\":\"shop:1.4\",\"imageID\":\"$digest\",\"ready\":true,\"restartCount\":0,\"containerID\":\"containerd://$id\"}]}}" >/dev/null
eventually 20 has '."k8s.container.name" == "api" and ."service.name" == "shop" and ."service.version" == "1.4"
	and ."service.instance.id" == "default.shop-6bd65c67cf-abcde.api" and ."k8s.node.name" == "n1"
	and ."container.image.name" == "shop" and ."container.image.tags".values == [{stringValue: "1.4"}]
	and ."container.image.repo_digests".values == [{stringValue: "'"$digest"'"}]' || fail "no span with the container's name and image"
echo "kubernetes: spans have the name of the container and its image once it is reported"
kill "$agent_pid"
wait "$agent_pid" || fail "the agent has failed"
[ "$(grep -c 'WARN.*pods' "$work/agent.log")" -eq 1 ] || fail "not one warning about pods"
! grep -q ERROR "$work/agent.log" || fail "the agent has logged an error"
has '."service.name" == "shop"' || fail "no span to look for labels in"
! has 'keys | any(startswith("k8s.pod.label."))' || fail "labels that nobody has asked for"

configure true
rm "$work/spans.jsonl"
"$agent" run --config "$work/mqspan.yaml" 2>"$work/labels.log" &
agent_pid=$!
pids+=("$agent_pid")
eventually 30 has '."service.name" == "till" and ."k8s.pod.label.app.kubernetes.io/instance" == "till" and ."k8s.pod.label.empty" == ""
	and ."k8s.pod.label.pod-template-hash" == "6bd65c67cf" and ."k8s.deployment.name" == "shop"' || fail "no span with the pod's labels"
echo "kubernetes: spans have the labels of the pod once that is asked for, and the service's name is that of its label"
kill "$agent_pid"
wait "$agent_pid" || fail "the agent with labels has failed"
! grep -q ERROR "$work/labels.log" || fail "the agent with labels has logged an error"
echo "kubernetes: ok"
