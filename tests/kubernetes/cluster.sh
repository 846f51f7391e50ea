#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cluster.sh: runs a real Kubernetes cluster of one node: API server, controllers, scheduler, kubelet and containerd,
# built here from their Go modules. helm installs the chart, a pod with a 32-bit program runs, and its spans arrive at a
# Collector on the node with the pod's names. Runs in its own mount and network namespaces and changes no setting of the
# kernel. Needs root, Go, what `install-deps.sh --for cluster` installs, and the image: tests/image/run.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ "${1:-}" != inside ]; then
	[ "$(id -u)" -eq 0 ] || { echo "kubernetes: mounts and containers want root" >&2 && exit 1; }
	"$root/tests/pipeline/build.sh" otelcol
	HELM=$("$root/tests/helm.sh")
	export HELM
	built=$root/target/kubernetes
	echo "kubernetes: building API server, controllers, scheduler, kubelet and containerd; some minutes the first time"
	(
		cd "$here"
		# Helm and the kubelet check versions.
		version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
		IFS=. read -r major minor _ <<<"${version#v}"
		prefix=k8s.io/component-base/version
		flags="-s -w -X $prefix.gitVersion=$version -X $prefix.gitMajor=$major -X $prefix.gitMinor=$minor"
		go build -ldflags="$flags" -o "$built/apiserver" .
		go build -ldflags="$flags" -o "$built/node" ./node
	)
	for program in containerd containerd-shim-runc-v2 ctr; do
		CGO_ENABLED=0 GOBIN=$built/bin go install "github.com/containerd/containerd/v2/cmd/$program@v2.4.2"
	done
	exec unshare --net --mount --propagation private "$0" inside
fi

node=192.0.2.1
built=$root/target/kubernetes
PATH=$built/bin:$PATH
ip link set lo up
ip link add node type veth peer name nowhere
ip addr add $node/32 dev node
ip link set node up
# The address of the service `kubernetes`, which kube-proxy would route to the API server.
service=10.0.0.1
ip addr add $service/32 dev lo
# Where the kubelet, containerd and CNI write.
for directory in /run /opt /var/lib /var/log; do
	mount -t tmpfs tmpfs $directory
done
# The kubelet wants these settings for the whole machine (pkg/kubelet/cm/container_manager_linux.go). They stay as they
# are; the kubelet sees files that hold the values it wants.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 \
	kernel/keys/root_maxbytes=25000000; do
	echo "${setting#*=}" >"/run/${setting//\//.}"
	mount --bind "/run/${setting//\//.}" "/proc/sys/${setting%=*}"
done

export APISERVER=$built/apiserver
# shellcheck disable=SC2034 # of server.sh
api_listens=$service:443 api_for_pods=yes
# shellcheck source=tests/kubernetes/server.sh
. "$here/server.sh"
# shellcheck source=tests/image/buildah.sh
. "$root/tests/image/buildah.sh"
image=localhost/mqspan:test
buildah inspect "$image" >/dev/null 2>&1 || fail "there is no image: make image"

end_all() {
	# The kubelet first: it would start the containers again.
	[ -z "${kubelet:-}" ] || { kill "$kubelet" && wait "$kubelet"; } 2>/dev/null || true
	for container in $(ctr task list --quiet 2>/dev/null || true); do
		ctr task delete --force "$container" >/dev/null 2>&1 || true
	done
	# Shims outlive containerd and have to be ended, too.
	pkill --full -- "-address $work/containerd.sock" || true
	# All at once: the API server waits for its watchers.
	kill "${pids[@]}" 2>/dev/null || true
	wait "${pids[@]}" 2>/dev/null || true
	awk -v work="$work/" 'index($2, work) == 1 { print $2 }' /proc/mounts | tac | xargs -r umount --lazy
	end
	for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
		[ ! -d "$hierarchy/$cgroup" ] || find "$hierarchy/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
}
cgroup=mqspan-cluster-$$
trap end_all EXIT

# start NAME COMMAND...: runs it in the background, until the script ends.
start() {
	local name=$1
	shift
	"$@" >"$work/$name.log" 2>&1 &
	pids+=($!)
}

ctr() {
	command ctr --address "$work/containerd.sock" --namespace k8s.io "$@"
}

# image_of NAME PROGRAM: makes an image of one static program.
image_of() {
	local name=$1 program=$2 container
	container=$(buildah from scratch)
	cp "$program" "$(buildah mount "$container")/"
	buildah umount "$container" >/dev/null
	buildah config --entrypoint "[\"/$(basename "$program")\"]" "$container"
	buildah commit --quiet --rm "$container" "$name" >/dev/null
}
import() {
	buildah push --quiet "$1" "docker-archive:$work/image.tar:$1"
	ctr images import "$work/image.tar" >"$work/import.log" 2>&1 || fail "import $1"
	rm "$work/image.tar"
}

cat >"$work/containerd.toml" <<TOML
version = 3
root = "$work/containerd/root"
state = "$work/containerd/state"
[grpc]
address = "$work/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
use_local_image_pull = true
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:test"
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
# Where it may not be lowered.
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "$work/cni"
TOML
mkdir "$work/cni"
cat >"$work/cni/10-pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp",
 "ipam": {"type": "host-local", "dataDir": "$work/ipam", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
start containerd containerd --config "$work/containerd.toml"
eventually 60 ctr version || fail "containerd does not start"
cat >"$work/pause.c" <<'C'
#include <unistd.h>
int main(void)
{
	for (;;)
		pause();
}
C
cc -Os -static -o "$work/pause" "$work/pause.c"
image_of localhost/pause:test "$work/pause"
image_of localhost/mqwork:test "$root/target/workload/mqwork-i386"
for name in localhost/pause:test localhost/mqwork:test "$image"; do
	import "$name"
done
echo "kubernetes: $(ctr version 2>/dev/null | sed -n '/Server/,$ s/.*Version: */containerd /p') has the images"

cat >"$work/admin.kubeconfig" <<YAML
{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
 clusters: [{name: c, cluster: {server: "$url", certificate-authority: "$work/certs/apiserver.crt"}}], users: [{name: u, user: {token: admin-token}}]}
YAML
start kube-controller-manager "$built/node" kube-controller-manager --kubeconfig="$work/admin.kubeconfig" --root-ca-file="$work/certs/apiserver.crt" \
	--service-account-private-key-file="$work/sa.key" --use-service-account-credentials=true --bind-address=127.0.0.1 --leader-elect=false
start kube-scheduler "$built/node" kube-scheduler --kubeconfig="$work/admin.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
cat >"$work/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$work/containerd.sock
address: 127.0.0.1
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%", memory.available: 10Mi}
makeIPTablesUtilChains: false
podLogsDir: $work/pods
resolvConf: ""
protectKernelDefaults: true
YAML
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
	[ ! -e "$hierarchy/cgroup.procs" ] || mkdir -p "$hierarchy/$cgroup"
done
start kubelet "$built/node" kubelet --config="$work/kubelet.yaml" --kubeconfig="$work/admin.kubeconfig" --root-dir="$work/kubelet" --node-ip=$node \
	--hostname-override=node-1
kubelet=${pids[-1]}
# is_reported_ready PATH: whether this node or pod is reported ready.
is_reported_ready() {
	api GET "$1" | jq -e '.status.conditions[] | select(.type == "Ready") | .status == "True"'
}
eventually 180 is_reported_ready /api/v1/nodes/node-1 || fail "the node does not become ready"
echo "kubernetes: the node is ready: $(api GET /api/v1/nodes/node-1 | jq -r '.status.nodeInfo | "kubelet \(.kubeletVersion), \(.containerRuntimeVersion)"')"

# A Collector on the node, where the chart's configuration looks for one.
cat >"$work/collector.yaml" <<YAML
receivers: {otlp: {protocols: {grpc: {endpoint: "$node:4317"}}}}
exporters: {debug: {verbosity: detailed, sampling_initial: 1000000}}
service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}, telemetry: {metrics: {level: none}}}
YAML
start otelcol "$root/.cache/pipeline/otelcol" --config "$work/collector.yaml"

export KUBECONFIG=$work/admin.kubeconfig
helm() {
	"$HELM" --namespace tracing "$@" >"$work/helm.log" 2>&1 || fail "helm $*"
}
# The README's command, in another namespace, with a local image and with names of pods.
helm install mqspan "$root/helm/mqspan" --create-namespace --set image.repository=localhost/mqspan --set image.tag=test --set image.pullPolicy=Never \
	--set config.enrich.kubernetes.enabled=true --set config.logs.format=text --wait --timeout 5m
pods=/api/v1/namespaces/tracing/pods
# Helm waits for all but one of a DaemonSet's pods: there may be none yet.
find_agent() {
	agent=$(api GET "$pods?labelSelector=app.kubernetes.io/name=mqspan" | jq -er '.items[0].metadata.name')
}
eventually 120 find_agent || fail "the DaemonSet has no pod"
eventually 120 is_reported_ready "$pods/$agent" || fail "the agent does not become ready: $(api GET "$pods/$agent" | jq -c .status.containerStatuses)"
echo "kubernetes: helm install: $agent is ready"
helm test mqspan --timeout 3m
echo "kubernetes: helm test: $(grep -o 'Phase: .*' "$work/helm.log")"

status=/proc/$(pgrep --full --newest '^/?[a-z/]*mqspan run --config /etc/mqspan/mqspan.yaml')/status
# Bits 38 and 39 are CAP_PERFMON and CAP_BPF.
for line in 'CapEff:	000000c000000000' 'CapBnd:	000000c000000000' 'NoNewPrivs:	1' 'Seccomp:	2' 'Uid:	0	0	0	0'; do
	grep -qF "$line" "$status" || fail "not so of the agent: $line: $(cat "$status")"
done
echo "kubernetes: it traces with $(grep -oE 'CapEff.*' "$status" | tr '\t' ' '), NoNewPrivs and the runtime's seccomp profile"

# A Deployment whose program talks to itself over a queue, then ends.
deployments=/apis/apps/v1/namespaces/default/deployments
api POST $deployments '{"metadata": {"name": "shop"}, "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": {
	"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "till", "image": "localhost/mqwork:test", "imagePullPolicy": "Never",
	"args": ["--truth", "/truth", "paced", "500"]}]}}}}' >/dev/null
pod_of() {
	api GET "/api/v1/namespaces/default/pods?labelSelector=app=shop" | jq -er ".items[0]$1"
}
eventually 60 pod_of .status.containerStatuses[0].containerID || fail "the pod does not run"
cat >"$work/spans.py" <<'PY'
"""How many spans each container sent that has these attributes: spans.py LOG KEY=VALUE..."""
import collections, re, sys
counts, resource, in_resource = collections.Counter(), {}, False
for line in open(sys.argv[1]):
    attribute = re.match(r" +-> ([\w.]+): \w+\((.*)\)$", line)
    if re.search(r"^Resource attributes:", line):
        resource, in_resource = {}, True
    elif attribute and in_resource:
        resource[attribute[1]] = attribute[2]
    elif line.startswith("ScopeSpans"):
        in_resource = False
    elif line.startswith("Span #") and all(resource.get(key) == value for key, value in (word.split("=", 1) for word in sys.argv[2:])):
        counts[resource.get("container.id")] += 1
print(*(f"{container} {count}" for container, count in counts.items()), sep="\n")
PY
name=$(pod_of .metadata.name)
wanted=(k8s.deployment.name=shop "k8s.pod.name=$name" "k8s.pod.uid=$(pod_of .metadata.uid)" k8s.namespace.name=default k8s.container.name=till
	service.name=shop "service.instance.id=default.$name.till" k8s.node.name=node-1 host.name=node-1 process.executable.name=mqwork-i386)
# The container is restarted again and again. All calls of one that has ended must have arrived, under the id that the
# kubelet knows.
arrived() {
	local id
	id=$(pod_of '.status.containerStatuses[0] | .lastState.terminated.containerID // .state.terminated.containerID' | sed 's|.*//||')
	python3 "$work/spans.py" "$work/otelcol.log" "${wanted[@]}" | grep -x "$id 1002"
}
eventually 120 arrived || fail "1002 spans of $name: $(python3 "$work/spans.py" "$work/otelcol.log" "${wanted[@]}")"
echo "kubernetes: 1002 calls of a 32-bit program in $name are 1002 spans in the Collector, with ${wanted[*]}"

log=$(echo "$work/pods/tracing_${agent}_"*/mqspan/0.log)
tail --follow=descriptor --lines=+1 "$log" >"$work/agent.log" &
pids+=($!)
api DELETE $deployments/shop >/dev/null
helm uninstall mqspan --wait --timeout 3m
eventually 10 grep 'stopped' "$work/agent.log" || fail "the agent has not said that it stopped"
grep -q 'INFO stopped balance=.* lost 0 + pending 0$' "$work/agent.log" || fail "the sum of the agent is not even, or something is lost"
grep -o 'balance=.*' "$work/agent.log" | sed 's/^/kubernetes: helm uninstall: /'
echo "kubernetes: ok"
