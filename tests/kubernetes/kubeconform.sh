#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kubeconform.sh OPENAPI: checks every shape of the Helm chart (helm/golden) with kubeconform against the schemas in an
# API server's OpenAPI document, version 2. Fields that the document does not have are errors. Builds kubeconform from
# its Go module, once. Needs Go and jq.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
openapi=$1
cache=${MQSPAN_CACHE:-$root/.cache}/kubernetes
version=v0.8.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "kubeconform: $*" >&2
	exit 1
}

mkdir -p "$cache"
cache=$(realpath "$cache")
kubeconform=$cache/kubeconform-$version
if [ ! -x "$kubeconform" ]; then
	GOBIN=$cache CGO_ENABLED=0 go install "github.com/yannh/kubeconform/cmd/kubeconform@$version"
	mv "$cache/kubeconform" "$kubeconform"
fi

# One file per kind, named as kubeconform expects; each contains all definitions.
jq '.definitions
	| walk(if type == "object" and has("properties") and (has("additionalProperties") or ."x-kubernetes-preserve-unknown-fields" | not)
		then .additionalProperties = false else . end)
	| ."io.k8s.apimachinery.pkg.util.intstr.IntOrString" = {oneOf: [{type: "string"}, {type: "integer"}]}' "$openapi" >"$work/definitions.json"
mkdir "$work/schemas"
mapfile -t kinds < <(cat "$root"/helm/golden/*.yaml | sed -n 's/^kind: //p' | sort -u)
for kind in "${kinds[@]}"; do
	read -r name group api_version < <(jq -r --arg kind "$kind" 'to_entries[] | . as $entry
		| .value."x-kubernetes-group-version-kind" // [] | select(length == 1) | .[0] | select(.kind == $kind)
		| "\($entry.key) \(.group | split(".")[0] // "-" | if . == "" then "-" else . end) \(.version)"' "$work/definitions.json") ||
		fail "the API server has no $kind"
	suffix=$([ "$group" = - ] || echo "-$group")-$api_version
	jq --arg name "$name" '{"$ref": "#/definitions/\($name)", definitions: .}' "$work/definitions.json" >"$work/schemas/${kind,,}$suffix.json"
done

conforms() {
	"$kubeconform" -summary -schema-location "$work/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json" "$@"
}
conforms "$root"/helm/golden/*.yaml || fail "not by the schemas"
# Checks that kubeconform does refuse a wrong field.
sed 's/hostPID:/hostPid:/' "$root/helm/golden/defaults.yaml" >"$work/wrong.yaml"
! conforms "$work/wrong.yaml" >"$work/answer" || fail "it takes hostPid"
grep -q "hostPid" "$work/answer" || fail "it refuses for another reason: $(cat "$work/answer")"
echo "kubeconform: ok: $(printf '%s\n' "${kinds[@]}" | paste -sd ' ')"
