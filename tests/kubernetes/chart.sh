#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# chart.sh: applies every object of the Helm chart in each of its shapes (helm/golden) to a real API server, which
# refuses fields that it does not know. It checks objects of the Prometheus operator against the operator's own
# definitions. Needs what server.sh needs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/kubernetes/server.sh
. "$here/server.sh"
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0

api POST /api/v1/namespaces '{"metadata":{"name":"tracing"}}' >/dev/null
eventually 60 api GET /api/v1/namespaces/tracing || fail "no namespace tracing"
definitions=$(cd "$here" && go mod download -json "$operator" | jq -r .Dir)/example/prometheus-operator-crd
crds=/apis/apiextensions.k8s.io/v1/customresourcedefinitions
monitoring=/apis/monitoring.coreos.com/v1
# apply PATH FILE: as kubectl apply --server-side --validate=strict does.
apply() {
	api PATCH "$1?fieldManager=test&force=true&fieldValidation=Strict" "@$2" application/apply-patch+yaml
}
for name in podmonitors prometheusrules; do
	apply "$crds/$name.monitoring.coreos.com" "$definitions/monitoring.coreos.com_$name.yaml" >"$work/answer" || fail "$(cat "$work/answer")"
	eventually 60 api GET "$monitoring/$name" || fail "no $name"
done

declare -A at=(
	[ServiceAccount]=/api/v1/namespaces/tracing/serviceaccounts
	[ConfigMap]=/api/v1/namespaces/tracing/configmaps
	[Pod]=/api/v1/namespaces/tracing/pods
	[DaemonSet]=/apis/apps/v1/namespaces/tracing/daemonsets
	[NetworkPolicy]=/apis/networking.k8s.io/v1/namespaces/tracing/networkpolicies
	[ClusterRole]=/apis/rbac.authorization.k8s.io/v1/clusterroles
	[ClusterRoleBinding]=/apis/rbac.authorization.k8s.io/v1/clusterrolebindings
	[PodMonitor]=$monitoring/namespaces/tracing/podmonitors
	[PrometheusRule]=$monitoring/namespaces/tracing/prometheusrules
)
# accept FILE SHAPE: applies one object.
accept() {
	local kind name
	kind=$(sed -n 's/^kind: //p' "$1")
	name=$(sed -n '/^metadata:/,/^[^ ]/ { s/^  name: "\?\([^"]*\)"\?$/\1/p }' "$1")
	if [ -z "${at[$kind]:-}" ] || [ -z "$name" ]; then
		fail "what is this? $(cat "$1")"
	fi
	apply "${at[$kind]}/$name" "$1" >"$work/answer" || fail "$2: $kind $name: $(cat "$work/answer")"
	accepted+=("$kind")
	# Deleted after its shape, so that each shape starts with nothing.
	paths+=("${at[$kind]}/$name")
}
for shape in "$root"/helm/golden/*.yaml; do
	rm -rf "$work/objects"
	mkdir "$work/objects"
	awk -v directory="$work/objects" '/^---$/ { n++; next } { print > (directory "/" n ".yaml") }' "$shape"
	accepted=() paths=()
	for object in "$work"/objects/*.yaml; do
		accept "$object" "$(basename "$shape" .yaml)"
	done
	for path in "${paths[@]}"; do
		api DELETE "$path?gracePeriodSeconds=0" >/dev/null
	done
	echo "kubernetes: the API server takes $(basename "$shape" .yaml): ${accepted[*]}"
done

api GET /openapi/v2 >"$work/openapi.json"
"$here/kubeconform.sh" "$work/openapi.json"

# Checks that the server does refuse a wrong field.
sed 's/hostPID:/hostPid:/' "$root/helm/golden/defaults.yaml" | awk '/^---$/ { n++; next } n == 3' >"$work/wrong.yaml"
grep -q hostPid "$work/wrong.yaml" || fail "the third object is no DaemonSet"
! apply "${at[DaemonSet]}/mqspan" "$work/wrong.yaml" >"$work/answer" || fail "it takes hostPid"
grep -q hostPid "$work/answer" || fail "it refuses for another reason: $(cat "$work/answer")"
echo "kubernetes: ok"
