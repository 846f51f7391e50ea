#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# trace.sh ROOTFS WORK VERSION ENTRYPOINT: run.sh runs it in its own network and mount namespaces. The image runs with
# the chart's configuration, under the security context of its DaemonSet. It traces a 32-bit program in another
# container and sends the spans to a Collector, which it finds by name and which passes them on to Jaeger.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/image/buildah.sh
. "$here/buildah.sh"
rootfs=$1 work=$2 version=$3 entrypoint=$4
built=${MQSPAN_CACHE:-$root/.cache}/pipeline
node=192.0.2.1 pod=192.0.2.2 name=collector.mqspan.test
jaeger=127.0.0.2
pids=()
cgroups=()
end() {
	runc --root "$work/runc" delete --force agent >/dev/null 2>&1 || true
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for cgroup in "${cgroups[@]}"; do
		# runc removes the container's groups but not those above them. Those that are still in use stay.
		for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
			rmdir "$hierarchy/$cgroup" "$hierarchy/kubepods/burstable" "$hierarchy/kubepods" 2>/dev/null || true
		done
	done
}
trap end EXIT

fail() {
	tail -n 20 "$work"/*.log >&2
	echo "image: $*" >&2
	exit 1
}

# eventually SECONDS COMMAND...: retries the command; true as soon as it succeeds.
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# A node with one pod, and a name server.
ip link set lo up
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
ip netns add pod
ip link add node type veth peer name eth0 netns pod
ip addr add $node/24 dev node
ip link set node up
ip -n pod addr add $pod/24 dev eth0
ip -n pod link set eth0 up
ip -n pod link set lo up
dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= --listen-address=$node --bind-interfaces \
	"--address=/$name/$node" >"$work/dnsmasq.log" 2>&1 &
pids+=($!)
JAEGER_LISTEN_HOST=$jaeger "$built/jaeger" >"$work/jaeger.log" 2>&1 &
pids+=($!)
OTLP_LISTEN=$node:4317 OTLP_HTTP_LISTEN=$node:4318 JAEGER_ENDPOINT=$jaeger:4317 "$built/otelcol" --config "$root/config/examples/collector.yaml" >"$work/otelcol.log" 2>&1 &
pids+=($!)
eventually 60 curl -fsS "http://$jaeger:16686/api/services" || fail "Jaeger does not start"
eventually 60 bash -c "</dev/tcp/$node/4317" || fail "the Collector does not listen"

# The chart's configuration, and what it says about the container.
mkdir "$work/etc"
sed -n '/^config:/,/^[^ #]/ { s/^  //p }' "$root/helm/mqspan/values.yaml" >"$work/etc/mqspan.yaml"
echo "nameserver $node" >"$work/resolv.conf"
for line in 'hostPID: true' 'privileged: false' 'allowPrivilegeEscalation: false' 'readOnlyRootFilesystem: true' 'runAsUser: 0' 'runAsGroup: 0' \
	'drop: [ALL]' '- BPF' '- PERFMON' 'args: [run, --config, /etc/mqspan/mqspan.yaml]'; do
	grep -qF -- "$line" "$root/helm/mqspan/templates/daemonset.yaml" || fail "the chart has no more: $line"
done
grep -q 'sysPtrace: false' "$root/helm/mqspan/values.yaml" || fail "the chart asks for SYS_PTRACE"
grep -A1 '^seccompProfile:' "$root/helm/mqspan/values.yaml" | grep -q 'type: RuntimeDefault' || fail "the chart has another seccomp profile"

# bundle NAME ARGS...: prepares a container of the image with this command, under the security context.
bundle() {
	local bundle=$work/$1
	shift
	mkdir "$bundle"
	runc spec --bundle "$bundle"
	jq --arg rootfs "$rootfs" --arg etc "$work/etc" --arg resolv "$work/resolv.conf" --arg name "$name" \
		--argjson args "$(jq -nc '$ARGS.positional' --args -- "$@")" '
		["CAP_BPF", "CAP_PERFMON"] as $caps
		| .process += {terminal: false, user: {uid: 0, gid: 0}, args: $args, cwd: "/", noNewPrivileges: true, rlimits: [],
			env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOST_IP=\($name)", "NODE_NAME=node", "POD_NAME=mqspan-abcde"],
			capabilities: {bounding: $caps, effective: $caps, permitted: $caps}}
		| .root = {path: $rootfs, readonly: true}
		| .mounts += [{destination: "/etc/mqspan", source: $etc}, {destination: "/etc/resolv.conf", source: $resolv}
			| . + {type: "bind", options: ["rbind", "ro"]}]
		| .linux.namespaces = [{type: "mount"}, {type: "ipc"}, {type: "uts"}, {type: "network", path: "/run/netns/pod"}]
		| .linux.resources += {memory: {limit: 268435456}}' "$bundle/config.json" | "$image_cache/default-seccomp" >"$bundle/config.json.new"
	mv "$bundle/config.json.new" "$bundle/config.json"
}

# in_image NAME ARGS...: runs such a container to its end.
in_image() {
	bundle "$@"
	runc --root "$work/runc" run --bundle "$work/$1" "$1" 2>"$work/$1.log" </dev/null
}

mapfile -t program < <(jq -r '.[]' <<<"$entrypoint")
said=$(in_image version "${program[@]}" --version) || fail "mqspan --version"
[ "$said" = "mqspan $version" ] || fail "it calls itself $said"
echo "image: $said"
said=$(in_image resolves getent hosts "$name") || fail "the image does not resolve $name"
[ "${said%% *}" = $node ] || fail "$name resolves to $said"
echo "image: resolves names by the name server"
in_image doctor "${program[@]}" doctor --config /etc/mqspan/mqspan.yaml >"$work/doctor.log" || fail "doctor says that run would not work"
echo "image: mqspan doctor: run would work"

bundle agent "${program[@]}" run --config /etc/mqspan/mqspan.yaml
runc --root "$work/runc" run --bundle "$work/agent" agent >"$work/agent.log" 2>&1 </dev/null &
agent=$!
pids+=("$agent")
eventually 60 curl -fsS "http://$pod:13133/readyz" || fail "the agent does not become ready"
status=/proc/$(runc --root "$work/runc" state agent | jq -r .pid)/status
# Bits 38 and 39 are CAP_PERFMON and CAP_BPF.
for line in 'CapEff:	000000c000000000' 'CapBnd:	000000c000000000' 'NoNewPrivs:	1' 'Seccomp:	2' 'Uid:	0	0	0	0'; do
	grep -qF "$line" "$status" || fail "not so of the agent: $line: $(cat "$status")"
done
echo "image: traces with $(grep -oE 'CapEff.*' "$status" | tr '\t' ' '), NoNewPrivs, containerd's seccomp profile and a read-only root"

# A pod's container, in the group where the kubelet puts it with the cgroupfs driver.
uid=$(cat /proc/sys/kernel/random/uuid)
id=${uid//-/}${uid//-/}
cgroups+=("kubepods/burstable/pod$uid")
mkdir -p "$work/workload/rootfs"
cp "$root/target/workload/mqwork-i386" "$work/workload/rootfs/mqwork"
runc spec --bundle "$work/workload"
jq --arg cgroup "/kubepods/burstable/pod$uid/$id" '.process += {terminal: false, args: ["/mqwork", "--truth", "/truth", "paced", "5000"]}
	| .root.readonly = false | .linux.cgroupsPath = $cgroup' "$work/workload/config.json" >"$work/workload/config.json.new"
mv "$work/workload/config.json.new" "$work/workload/config.json"
runc --root "$work/runc" run --bundle "$work/workload" "$id" >"$work/workload.log" 2>&1 </dev/null || fail "the workload failed"
calls=$(wc -l <"$work/workload/rootfs/truth")

spans() {
	curl -fsS "http://$jaeger:16686/api/traces?service=mqwork&limit=50000&start=1&end=7258118400000000"
}

# arrived: whether Jaeger has one span per call with the ids of the container and its pod, and with what the chart adds.
arrived() {
	local found
	found=$(spans |
		jq --arg id "$id" --arg uid "$uid" '[.data[] | .processes as $all | .spans[] | $all[.processID].tags | map({key, value}) | from_entries
			| select(."container.id" == $id and ."k8s.pod.uid" == $uid and ."k8s.node.name" == "node" and
				."process.executable.path" == "/mqwork")] | length')
	[ "$found" -eq "$calls" ]
}
eventually 60 arrived || fail "not $calls spans with container.id $id: $(spans | jq -c '[.data[].processes[].tags | map({key, value}) | from_entries] | unique[0]')"
echo "image: $calls calls of a 32-bit program in a container, $calls spans in Jaeger with its container.id, k8s.pod.uid and executable"

runc --root "$work/runc" kill agent TERM
wait "$agent" || fail "the agent ended with $?"
! grep -E '"level":"(ERROR|WARN)"' "$work/agent.log" || fail "the agent has logged an error"
grep -oE 'seen [0-9]+ = [^"]*' "$work/agent.log" | sed 's/^/image: ends at SIGTERM: /' | grep . || fail "no balance"
echo "image: ok"
