#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # $1 in the expressions is perl's
#
# mutants.sh [NAME...]: breaks a copy of mqspan on purpose, in one place after another, and runs the case that must
# notice. A mutant that passes its case is a failure of the tests. Without names, runs all mutants.
#
# Needs what `make test` needs. Mutants that run in QEMU take half a minute each.
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
[ -x "$root/target/workload/mqwork-i386" ] || {
	echo "mutants: build first: make programs" >&2
	exit 2
}
copy=$root/target/mutants
rm -rf "${copy:?}/bpf" "$copy/agent" "$copy/testkit" "$copy/tests"
mkdir -p "$copy/target"
# Takes over what is built of other crates, which do not change.
if [ ! -d "$copy/target/debug" ] && [ -d "$root/target/debug/deps" ]; then
	mkdir "$copy/target/debug"
	cp -al "$root"/target/debug/{deps,build,.fingerprint} "$copy/target/debug/"
fi
cd "$root" && git ls-files -z | xargs -0 cp -p --parents -t "$copy"
cp -a "$root/target/workload" "$copy/target/"
ln -sfn "$root/.cache" "$copy/.cache"
cd "$copy" || exit 1
echo "mutants: building the agent as it is, once"
cargo build --quiet -p mqspan -p mqspan-tests || exit 1

e2e() {
	target/debug/mqspan-e2e --agent target/debug/mqspan --backend tracepoint \
		--workload target/workload/mqwork-x86_64 --workload32 target/workload/mqwork-i386 --filter "$1"
}

# vm KERNEL BACKEND CASE: in QEMU.
vm() {
	mkdir -p target/release
	strip -o target/release/mqspan target/debug/mqspan
	tests/vm/e2e.sh "$1" "$2" -- --filter "$3"
}

# This backend sees the kernel's own copies and the identity of messages.
fentry() { vm 6.1 fentry "$1"; }
# Here many blocked callers leave no kretprobe instance to see their returns.
kprobe_limited() { vm 5.10 kprobe "$1"; }
# Kernels where threads are preempted inside system calls.
fentry_preempted() { vm 6.1:preempt=full fentry "$1"; }
kprobe_preempted() { vm 6.1:preempt=full kprobe "$1"; }
tracepoint_preempted() { vm backports tracepoint "$1"; }

caught=0
missed=0
wanted=("$@")

# mutant NAME FILE PERL_EXPRESSION RUNNER CASE
mutant() {
	local name=$1 file=$2 expression=$3 runner=$4 case=$5
	if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then
		return
	fi
	# Kept from here and not from the tree, which may be edited meanwhile.
	cp -p "$file" whole
	perl -0pi -e "$expression" "$file"
	if cmp -s "$file" whole; then
		echo "mutant $name ... FAILED: the expression changes nothing in $file"
		missed=$((missed + 1))
		return
	fi
	if ! cargo build --quiet -p mqspan 2>log; then
		tail -n 5 log
		echo "mutant $name ... FAILED: does not build"
		missed=$((missed + 1))
	elif "$runner" "$case" >log 2>&1; then
		echo "mutant $name ... FAILED: $case passes all the same"
		missed=$((missed + 1))
	elif grep -qaE '^test .* \.\.\. FAILED' log; then
		echo "mutant $name ... ok: $(grep -aE -A1 '^test .* \.\.\. FAILED' log | sed -n 2p | sed 's/^ *//' | cut -c1-120)"
		caught=$((caught + 1))
	else
		tail -n 5 log
		echo "mutant $name ... FAILED: no case was run to its end"
		missed=$((missed + 1))
	fi
	mv whole "$file"
	touch "$file"
}

mutant priority bpf/call.bpf.h 's/call->priority = args->arg\[3\];/call->priority = args->arg[3] + 1;/' e2e basic_32
mutant timeout bpf/call.bpf.h 's/timeout_sec = time32.tv_sec/timeout_sec = time32.tv_nsec/' e2e basic_32
mutant abi bpf/entry_functions.bpf.h 's/(call_enter\(task, op, )ABI_COMPAT/$1ABI_NATIVE/' e2e basic_32
mutant length bpf/call.bpf.h 's/call->msg_len = args->arg\[2\];/call->msg_len = (__s32)args->arg[2];/' e2e odd_64
mutant name bpf/events.h 's/#define QUEUE_NAME_MAX 256/#define QUEUE_NAME_MAX 128/' e2e odd_64
mutant not-present bpf/call.bpf.h 's/if \(!\(call->flags & CALL_NAME\)\)\n\s*name_read\(thread\);//' e2e odd_64
mutant depth bpf/call.bpf.h 's/\t\tqueue_depth\(thread\);\n\t\} else if \(op == CALL_GETSETATTR/\t} else if (op == CALL_GETSETATTR/' e2e basic_64
mutant interrupted bpf/call.bpf.h 's/if \(ret == -ERESTARTSYS\)/if (0)/' e2e interrupted_64
mutant reentered bpf/call.bpf.h 's/thread->call.flags \|= CALL_REENTERED/thread->call.flags |= 0/' e2e interrupted_64
mutant unlinked bpf/queue.bpf.h 's/if \(!KERNEL\(struct inode, .*i_nlink\)\)/if (0)/' e2e closed_64
mutant threshold agent/src/sampling/mod.rs 's/\.filter\(\|_\| threshold > 0\)/.filter(|_| false)/' e2e journeys_sampled
mutant restarted bpf/call.bpf.h 's/call.flags \|= CALL_RESTARTED/call.flags |= 0/' e2e interrupted_32
mutant killed bpf/lifecycle.bpf.h 's/thread->call.flags \|= CALL_DIED;//' e2e killed_64
mutant exec bpf/lifecycle.bpf.h 's/signal : SIGKILL/signal : 15/' e2e exec_64
mutant blocked bpf/blocked.bpf.h 's/if \(!task_is_asleep\(task\)\)/if (1)/' e2e blocked_before_attach_32
mutant ring-share bpf/call.bpf.h 's/(ring_share_take\(size \+ context_size\)\) \{\n\s*)call_lost\(\)/$1COUNT(message_lost)/' e2e balance_ring_full_64
mutant unfair bpf/share.bpf.h 's/if \(!is_within_share\(free, room/if (0 \&\& !is_within_share(free, room/' e2e hostile_flood_exchange_8
mutant threads bpf/share.bpf.h 's/if \(all >= max_threads\)\n\s*return false;//; s/!is_within_share\(free, free/0 \&\& !is_within_share(free, free/' e2e limits_threads
mutant crowd bpf/share.bpf.h 's/!is_within_share\(free, free/0 \&\& !is_within_share(free, free/' e2e shares_threads
mutant queue-share agent/src/export/shares.rs 's/if self\.pressure \&\& !self/if false \&\& !self/' e2e shares_collector_away
mutant tenants bpf/owner.bpf.h 's/if \(made \&\& maker\)/if (0)/' e2e shares_tenants_told
mutant makers bpf/owner.bpf.h 's/else if \(made \&\& !maker\)/else if (made)/' e2e shares_tenants_told
mutant looks bpf/call.bpf.h 's/\(ns \* 0x9e3779b97f4a7c15ULL >> 32 \& look_mask\)/(look_mask)/' e2e limits_payload_after_idle
mutant give-back agent/src/kernel/lost.rs 's/full.delete\(&key\)\?;//' e2e limits_lost_names
mutant environment bpf/process.bpf.h 's/(if \(has_room && send_environment\)\n\s*)environment_send\(\);/$1;/' e2e identity_short_life
mutant claims agent/src/resource.rs 's/!WITNESSED/WITNESSED.len() > 0 || !WITNESSED/' e2e identity_claims
mutant users agent/src/process/mod.rs 's/facts.is_of_host\(\)/true/' e2e container_64
mutant payload bpf/call.bpf.h 's/len > payload_max\)\n\s*len = payload_max/len > payload_max)\n\t\tlen = payload_max - 1/' e2e payload
mutant lost-metrics bpf/lost.bpf.h 's/lost->consumed, 1/lost->consumed, 2/' e2e balance_ring_full_64
mutant filter-comm bpf/filter.bpf.h 's/filter.by_comm && !comm_wanted\(task, thread\)/0/' e2e filter_in_kernel
mutant filter-queue bpf/filter.bpf.h 's/return thread \? queue_verdict\(thread\)/return thread ? WANTED/' e2e filter_in_kernel
mutant filter-container agent/src/capture.rs 's/tracer.set_cgroups\(.*?\);/pipeline.take_cgroup_verdicts();/' e2e filter_in_kernel
mutant waiting bpf/blocked.bpf.h 's/thread && thread->state == THREAD_IN_CALL &&\n\s*is_transfer/0 \&\& is_transfer/' e2e metrics_blocked_callers
mutant elsewhere bpf/blocked.bpf.h 's/(task_is_compat\(task, regs\)\) !=\n\s*thread->call.op)\)/$1 \&\& 0)/' kprobe_limited limits_kretprobes
mutant hybrid bpf/cgroup.bpf.h 's/TRY_CONTROLLER\(memory_cgrp_id\);//' e2e container_hybrid
mutant blocked-queue bpf/blocked.bpf.h 's/queue_verdict\(thread\) != WANTED/0/' e2e metrics_blocked_filtered
mutant blocked-caller bpf/blocked.bpf.h 's/caller_verdict\(task, thread\) != WANTED/0/' e2e metrics_blocked_filtered
mutant sampled-out agent/src/pipeline.rs 's/counts.sampled_out, decided\)/counts.sampled_out, 0)/' e2e balance_ring_full_32
mutant every-second agent/src/pipeline.rs 's/counts.spans, 1\)/counts.spans, 2)/' e2e balance_ring_full_64
mutant kernel-copy bpf/message.bpf.h 's/thread->call.timeout_sec = copy.tv_sec;//' fentry tocttou_64
mutant identity bpf/message.bpf.h 's/origin.start_ns = thread->call.start_ns;/origin.start_ns = thread->call.start_ns + 1;/' fentry exchange_32
mutant stale-identity bpf/message.bpf.h 's/if \(bpf_map_update_elem\(&messages, &message, &origin, BPF_ANY\)\)/if (bpf_map_update_elem(&messages, &message, &origin, BPF_NOEXIST))/; s/bpf_map_delete_elem\(&messages, &message\);//g' fentry exchange_64
mutant whole agent/src/pipeline/after_all.rs 's/None => self.send_after_all\(.*\),/None => {}/' fentry journeys_slow_ones
mutant parents bpf/message.bpf.h 's/origin->fate = fate;/origin->fate = SEND_TOLD;/' fentry journeys_min_duration
mutant parents-filtered agent/src/sends.rs 's/self.untold.insert\(call, \(\), 1\);//' fentry journeys_filtered_by_the_agent
mutant process-pause agent/src/processing.rs 's/!pending.has_end && call.no_wait/!pending.has_end/' e2e process_spans_pauses
mutant chain-waits bpf/chain.bpf.h 's/chain->waits == waits_of\(task\) &&//' fentry chains_socket_and_timer
mutant chain-reads bpf/chain.bpf.h 's/chain->reads == reads_of\(task\)/true/' fentry chains_event_loop
mutant chain-home bpf/chain.bpf.h 's/root_is_home\(&chain->root, call\)/false/' fentry chains_request_and_reply
mutant chain-hops bpf/chain.bpf.h 's/chain->root.hops \+ 2 > chains.max_hops/false/' fentry chains_ping_pong
mutant chain-unknown bpf/chain.bpf.h 's/chain->root.hops > 1 &&//' e2e chains_request_and_reply
mutant chain-asked bpf/chain.bpf.h 's/place_in_asked\(&chain->root, call\) < MAX_ASKED\)/false)/' fentry chains_late_replies
mutant chain-filtered bpf/call.bpf.h 's/(if \(is_receive\(op\)\)\n\s*)chain_breaks\(thread\);/$1;/' e2e chains_receive_left_out
mutant context-valid bpf/context.bpf.h 's/context.valid != 1 \|\|//' e2e context_executable_64
mutant context-sampled bpf/context.bpf.h 's/span->is_known && \(span->trace_flags & TRACE_SAMPLED\)/span->is_known/' e2e context_executable_64
mutant receive-start agent/src/span.rs 's/until.saturating_sub\(call.start_ns\)/0/' fentry pingpong_64
mutant stopped bpf/blocked.bpf.h 's/if \(stopped\) \{/if (0) {/' e2e stopped_before_attach_64
mutant children bpf/lifecycle.bpf.h 's/COUNT\(child_lost\)/COUNT(message_lost)/' e2e limits_children
mutant verdicts agent/src/filter.rs 's/\n\s*\|\| self.matches_container\(process\)\n/\n/' e2e limits_cgroups
mutant jumped bpf/call.bpf.h 's/(thread->interrupted_start_ns) && thread->goes_back &&/$1 \&\&/' e2e interrupted_jumped_64
mutant returned bpf/lifecycle.bpf.h 's/SP_PROBE\(regs\) == thread->interrupted_sp &&\n.*?\)\n/1)\n/' e2e interrupted_jumped_32
mutant included agent/src/kernel/attach/running.rs 's/if let Some\(link\) = &self\.blocked \{/if let Some(link) = None::<\&libbpf_rs::Link> {/' e2e filter_included_in_a_call
mutant time-namespace agent/src/clock.rs 's/ - \*AHEAD_NS/ - 0 * *AHEAD_NS/' e2e time_namespace
mutant awaited bpf/blocked.bpf.h 's/!thread->is_awaited\) \{/0) {/' fentry_preempted blocked_arriving_64
mutant hidden agent/src/kernel/attach/mod.rs 's/let spares = kernel_is_preemptible\(\)/let spares = false/' kprobe_preempted balance_hidden
mutant refused bpf/call.bpf.h 's/if \(hooks_every_call && calls_can_be_refused\(task\)\)/if (0)/' tracepoint_preempted odd_refused_64
mutant message-twice bpf/message.bpf.h 's/if \(thread->call.flags & CALL_MESSAGE\)/if (0)/' kprobe_preempted limits_messages
mutant clock agent/src/pipeline.rs 's/(fn renew_clock\(&mut self\) \{)/$1 return;/' fentry '^clock_step$'

printf '%s passed, %s failed\n' "$caught" "$missed"
[ "$missed" -eq 0 ] && [ "$caught" -gt 0 ]
