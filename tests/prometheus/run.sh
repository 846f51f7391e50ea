#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh: checks with Prometheus' own promtool what users of Prometheus get. It checks the alerts, fires them on made-up
# series (alerts_test.yaml), parses each query of the dashboard, and lints what a running agent exposes. Builds promtool
# from its Go module, once. Needs Go, jq, curl and the agent: make programs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/prometheus
version=v0.316.0
mkdir -p "$cache"
cache=$(realpath "$cache")
work=$(mktemp -d)
agent=
end() {
	[ -z "$agent" ] || kill "$agent" 2>/dev/null || true
	rm -rf "$work"
}
trap end EXIT

fail() {
	echo "prometheus: $*" >&2
	exit 1
}

promtool=$cache/promtool-$version
if [ ! -x "$promtool" ]; then
	command -v go >/dev/null || fail "promtool is built with Go, which is not installed"
	echo "prometheus: building promtool; some minutes"
	GOBIN=$cache CGO_ENABLED=0 go install "github.com/prometheus/prometheus/cmd/promtool@$version"
	mv "$cache/promtool" "$promtool"
fi

# check WHAT COMMAND...: shows the command's output only if it fails.
check() {
	local what=$1
	shift
	"$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && fail "$what"; }
	echo "prometheus: $what: ok"
}

cp "$root/helm/mqspan/files/alerts.yaml" "$here/alerts_test.yaml" "$work"
mapfile -t alerts < <(sed -n 's/.*alert: \(.*\)/\1/p' "$work/alerts.yaml")
check "${#alerts[@]} alerts" "$promtool" check rules --lint=all --lint-fatal "$work/alerts.yaml"
for alert in "${alerts[@]}"; do
	[ "$(grep -c "alertname: $alert$" "$here/alerts_test.yaml")" -ge 2 ] || fail "alerts_test.yaml does not tell when $alert fires and when not"
done
check "when alerts fire" "$promtool" test rules "$work/alerts_test.yaml"

# Makes each query a rule in a file, with values for Grafana's variables.
dashboard=$root/config/grafana/mqspan.json
jq '{groups: [{name: "dashboard", rules: [[.panels[].targets[]?.expr] | to_entries[] | {record: "query:\(.key)",
	expr: (.value | gsub("\\$__rate_interval"; "1m") | gsub("\\$queue"; ".*"))}]}]}' "$dashboard" >"$work/dashboard.yaml"
check "$(jq '.groups[0].rules | length' "$work/dashboard.yaml") queries of the dashboard" "$promtool" check rules --lint=none "$work/dashboard.yaml"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
MQSPAN__METRICS__PROMETHEUS__ADDRESS=127.0.0.1:$port MQSPAN__METRICS__OTLP__ENABLED=false MQSPAN__HEALTH__ADDRESS='' \
	"$root/target/release/mqspan" run 2>"$work/agent.log" &
agent=$!
for _ in $(seq 300); do
	curl -fsS "http://127.0.0.1:$port/metrics" -o "$work/metrics" 2>/dev/null && break
	kill -0 $agent 2>/dev/null || { cat "$work/agent.log" >&2 && fail "the agent has ended"; }
	sleep 0.1
done
grep -q '^mqspan_call_count_total' "$work/metrics" || fail "the agent exposes no metrics"
metrics=$(grep -c '^# TYPE' "$work/metrics")
check "$metrics metrics of the agent" "$promtool" check metrics <"$work/metrics"
