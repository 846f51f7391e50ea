#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# helm/check.sh [--write]: lints and renders the chart in each of its shapes, compares the results with helm/golden, and
# lets the agent check the configuration in them. The chart's schema contains a copy of the configuration's; --write
# updates it and helm/golden. Needs helm (HELM names it, else the one in PATH), jq and the agent (MQSPAN names it, else
# target/release/mqspan). With kubeconform and KUBE_SCHEMAS, the location of its schemas, manifests are checked, too.
set -euo pipefail

cd "$(dirname "$0")/.."
chart=helm/mqspan
kube=1.31.0
schema=$chart/values.schema.json
mqspan=${MQSPAN:-target/release/mqspan}
golden=helm/golden
write=
[ "${1:-}" != --write ] || write=1
helm() {
	command "${HELM:-helm}" "$@"
}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The schema of the values with the configuration's in its place. References start at the root, so the definitions move
# there.
with_config_schema() {
	jq --slurpfile config config/mqspan.schema.json '
		.properties.config = ($config[0] | del(."$schema", ."$id", ."$defs", .title)) | ."$defs" = $config[0]."$defs"' "$schema"
}
with_config_schema >"$out/schema.json"
if [ "$write" ]; then
	cp "$out/schema.json" "$schema"
	rm -rf "$golden"
	mkdir "$golden"
fi
cmp "$out/schema.json" "$schema" || { echo "helm: $schema has another configuration than config/: helm/check.sh --write" >&2 && exit 1; }

helm lint --strict --quiet --kube-version "$kube" "$chart"

# renders NAME ARGS...: the chart renders as in helm/golden, and the agent accepts its configuration.
renders() {
	local name=$1
	shift
	helm template mqspan "$chart" --kube-version "$kube" --namespace tracing "$@" >"$out/$name.yaml"
	sed -n '/^  mqspan.yaml: |/,/^---/{ /^    /s/^    //p }' "$out/$name.yaml" >"$out/$name.config.yaml"
	[ -s "$out/$name.config.yaml" ]
	[ -z "$write" ] || cp "$out/$name.yaml" "$golden/$name.yaml"
	diff -u "$golden/$name.yaml" "$out/$name.yaml" || { echo "helm: $name comes out otherwise: helm/check.sh --write, if it should" >&2 && exit 1; }
	HOST_IP=192.0.2.1 NODE_NAME=node POD_NAME=pod OTLP_HEADER_0=a OTLP_HEADER_1=b "$mqspan" config check "$out/$name.config.yaml" >/dev/null
	if [ -n "${KUBE_SCHEMAS:-}" ]; then
		kubeconform -strict -schema-location "$KUBE_SCHEMAS" -skip PodMonitor,PrometheusRule "$out/$name.yaml"
	fi
	echo "helm: $name renders"
}

has() {
	grep -qE -- "$2" "$out/$1.yaml" || { echo "helm: $1 has no: $2" >&2 && exit 1; }
}

has_not() {
	! grep -qE -- "$2" "$out/$1.yaml" || { echo "helm: $1 has: $2" >&2 && exit 1; }
}

# refuses WORDS ARGS...: the values must be refused, with these words in the message.
refuses() {
	local words=$1
	shift
	if helm template mqspan "$chart" --kube-version "$kube" "$@" >"$out/refused" 2>&1; then
		echo "helm: not refused: $*" >&2
		exit 1
	fi
	grep -q -- "$words" "$out/refused" || { cat "$out/refused" >&2 && exit 1; }
	echo "helm: refused: $*"
}

renders defaults
has defaults 'privileged: false'
has defaults 'drop: \[ALL\]'
has defaults 'endpoint: http://\$\{env:HOST_IP\}:4317'
has defaults 'path: /readyz'
has_not defaults 'SYS_ADMIN|SYS_PTRACE|SYS_RESOURCE|ClusterRole|tracefs|PodMonitor|PrometheusRule|NetworkPolicy|secretKeyRef|secretName'
has defaults 'helm.sh/hook: test'

renders kprobe --set config.capture.backend=kprobe
has kprobe '- SYS_ADMIN'
has kprobe 'path: /sys/kernel/tracing'

renders kubernetes --set config.enrich.kubernetes.enabled=true
has kubernetes 'kind: ClusterRoleBinding'
has kubernetes 'node_name: \$\{env:NODE_NAME\}'
has kubernetes 'automountServiceAccountToken: true'
has kubernetes 'verbs: \[list, watch\]'
has_not kubernetes 'replicasets|jobs|verbs: \[.*get'

renders secret --set headersSecret.name=collector --set headersSecret.headers.authorization=token --set headersSecret.headers.x-tenant=tenant
has secret 'authorization: \$\{env:OTLP_HEADER_0\}'
has secret 'key: token'

renders tls --set config.exporters.otlp.endpoint=https://collector:4317 --set tlsSecret.name=collector --set tlsSecret.certKey=tls.crt --set tlsSecret.keyKey=tls.key
has tls 'ca_file: /etc/mqspan-tls/ca.crt'
has tls 'cert_file: /etc/mqspan-tls/tls.crt'
has tls 'key_file: /etc/mqspan-tls/tls.key'
has tls 'secretName: collector'

renders network --set networkPolicy.enabled=true --set networkPolicy.egressPorts='{4317,4318}'
has network 'kind: NetworkPolicy'
has network 'port: 13133'
has network 'port: 4318'
has_not network 'port: 6443'

renders closed --set networkPolicy.enabled=true --set config.health.address= --set config.enrich.kubernetes.enabled=true
has closed 'ingress: \[\]'
has closed 'port: 6443'

renders rule --set prometheusRule.enabled=true --set config.metrics.prometheus.address=0.0.0.0:9464 --set prometheusRule.labels.release=prometheus
has rule 'kind: PrometheusRule'
has rule 'alert: MqspanSpansLost'
has rule 'release: prometheus'

renders full --values "$chart/ci/full-values.yaml"
has full '- SYS_PTRACE'
has full '- SYS_RESOURCE'
has full 'kind: PodMonitor'
has full 'directory: /var/lib/mqspan'
has full 'path: /var/spool/mqspan'
has full '- 4026531839'

renders bare --set config.health.address= --set serviceAccount.create=false
has_not bare 'readyz|kind: ServiceAccount'

refuses imagee --set imagee.tag=1
refuses tagg --set image.tagg=1
refuses backendd --set config.capture.backendd=auto
refuses /config/capture/backend --set config.capture.backend=ebpf
refuses 'would be in a ConfigMap' --set config.exporters.otlp.headers.authorization=token
refuses 'name one file each' --set tlsSecret.name=collector --set config.exporters.otlp.tls.ca_file=/etc/ca.crt
refuses 'prometheusRule.enabled needs config.metrics.prometheus.address' --set prometheusRule.enabled=true
refuses egressPort --set networkPolicy.egressPort=4317
refuses 'podMonitor.enabled needs config.metrics.prometheus.address' --set podMonitor.enabled=true
