#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest.sh WORKLOAD WORKLOAD32: runs in a test kernel, under systemd, where the package is installed. The unmodified
# unit traces programs of another user.
set -euo pipefail

spans=/var/lib/mqspan/spans.jsonl
fail() {
	# The agent logs a final tally of all calls when it stops.
	systemctl stop mqspan || true
	journalctl --no-pager --unit mqspan | tail -n 30
	echo "systemd: $*"
	exit 1
}

# eventually COMMAND...: retries the command for a minute at most.
eventually() {
	local end=$((SECONDS + 60))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

said() {
	journalctl --no-pager --unit mqspan --output cat | grep -q -- "$1"
}

shown() {
	systemctl show mqspan --property "$1" --value
}

cat >/etc/mqspan/mqspan.yaml <<YAML
exporters: {file: {path: $spans}, otlp: {endpoint: "http://127.0.0.1:1"}}
metrics: {otlp: {enabled: false}}
YAML
systemctl start mqspan || fail "the unit does not start"
eventually said 'tracing backend=' || fail "nothing is traced"
pid=$(shown MainPID)
# Bits 38 and 39 are CAP_PERFMON and CAP_BPF.
for line in 'CapEff:	000000c000000000' 'CapBnd:	000000c000000000' 'NoNewPrivs:	1' 'Seccomp:	2'; do
	grep -qF "$line" "/proc/$pid/status" || fail "not so of the agent: $line: $(cat "/proc/$pid/status")"
done
! grep -q '^Uid:	0' "/proc/$pid/status" || fail "the agent is root"
echo "systemd: traces as user $(stat -c %u "/proc/$pid"), with $(grep -oE 'CapEff.*' "/proc/$pid/status" | tr '\t' ' '), NoNewPrivs and a seccomp filter"

calls=0
for workload in "$@"; do
	install -m 755 "$workload" "/usr/local/bin/mqwork${calls}"
	install -o daemon -d /tmp/truth
	setpriv --reuid=daemon --regid=daemon --clear-groups "/usr/local/bin/mqwork${calls}" --truth "/tmp/truth/$calls" paced 2000
	made=$(wc -l <"/tmp/truth/$calls")
	# shellcheck disable=SC2317 # eventually calls it
	arrived() {
		[ "$(grep -oE '"spanId":' "$spans" | wc -l)" -eq $((calls + made)) ]
	}
	eventually arrived || fail "$(grep -oE '"spanId":' "$spans" | wc -l) spans, not $((calls + made))"
	grep -q "\"/usr/local/bin/mqwork${calls}\"" "$spans" || fail "no process.executable.path of another user's program"
	calls=$((calls + made))
done
echo "systemd: $calls calls of another user's programs, 64-bit and 32-bit, $calls spans, with their executables' paths"

echo 'filter: {include: {queues: ["/none"]}}' >>/etc/mqspan/mqspan.yaml
systemctl reload mqspan || fail "the unit does not reload"
eventually said 'the new configuration is in use' || fail "the agent says nothing of a reload"
systemctl stop mqspan || fail "the unit does not stop"
[ "$(shown Result) $(shown ExecMainStatus)" = "success 0" ] || fail "it has ended with $(shown Result), $(shown ExecMainStatus)"
said "seen $calls = " || fail "no balance of $calls calls"
echo "systemd: reloads; stops with success, and with the sum of its calls in the journal"

echo 'filtre: {}' >>/etc/mqspan/mqspan.yaml
systemctl start mqspan
has_failed() {
	[ "$(shown ActiveState)" = failed ]
}
eventually has_failed || fail "with a wrong configuration it is $(shown ActiveState)"
[ "$(shown ExecMainStatus) $(shown NRestarts)" = "2 0" ] || fail "it has ended with $(shown ExecMainStatus), and was started again $(shown NRestarts) times"
said filtre || fail "the journal does not name what is wrong"
echo "systemd: a wrong configuration is named in the journal, and not tried again and again"
