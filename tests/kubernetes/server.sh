# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# To be sourced: starts a real API server, built here from its Go modules, with its data in $work and on ports that were
# free; api sends it requests. It ends with the script. Without api_listens it listens on loopback and a port that was
# free. Without api_for_pods, pods need no service account. Needs Go, curl, openssl and python3.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
apiserver=${APISERVER:-}
work=$(mktemp -d)
pids=()
end() {
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap end EXIT

fail() {
	echo "kubernetes: $*" >&2
	tail -n 20 "$work"/*.log >&2 || true
	exit 1
}

# eventually SECONDS COMMAND...: retries the command; true as soon as it succeeds.
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>>"$work/eventually.log"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

if [ -z "$apiserver" ]; then
	echo "kubernetes: building the API server"
	apiserver=$root/target/kubernetes/apiserver
	(cd "$root/tests/kubernetes" && go build -o "$apiserver" .)
fi

# Ports that are free now.
read -r etcd_port api_port < <(python3 -c '
import socket
held = [socket.socket() for _ in range(2)]
for s in held: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))')
openssl genrsa -out "$work/sa.key" 2048 2>/dev/null
openssl rsa -in "$work/sa.key" -pubout -out "$work/sa.pub" 2>/dev/null
printf 'admin-token,admin,1,system:masters\nagent-token,mqspan,2\n' >"$work/tokens.csv"
api_listens=${api_listens:-127.0.0.1:$api_port}
api_port=${api_listens##*:}
[ -n "${api_for_pods:-}" ] || without_accounts=--disable-admission-plugins=ServiceAccount
ETCD_DIR=$work/etcd ETCD_URL=http://127.0.0.1:$etcd_port "$apiserver" --etcd-servers="http://127.0.0.1:$etcd_port" \
	--bind-address="${api_listens%:*}" --endpoint-reconciler-type=none --secure-port="$api_port" --cert-dir="$work/certs" \
	--service-cluster-ip-range=10.0.0.0/24 --service-account-issuer=https://kubernetes.default.svc \
	--service-account-key-file="$work/sa.pub" --service-account-signing-key-file="$work/sa.key" \
	--authorization-mode=RBAC --token-auth-file="$work/tokens.csv" ${without_accounts:+"$without_accounts"} \
	>"$work/apiserver.log" 2>&1 &
pids+=($!)

url=https://$api_listens
# api METHOD PATH [BODY [TYPE]]: sends a request as the administrator.
api() {
	local type=application/json
	[ "$1" != PATCH ] || type=${4:-application/merge-patch+json}
	curl -sS --fail-with-body --cacert "$work/certs/apiserver.crt" -X "$1" -H 'Authorization: Bearer admin-token' -H "Content-Type: $type" \
		${3:+--data-binary "$3"} "$url$2"
}
echo "kubernetes: starting the API server"
is_ready() {
	kill -0 "${pids[0]}" || fail "the API server has ended"
	api GET /readyz
}
eventually 120 is_ready || fail "the API server does not become ready"
