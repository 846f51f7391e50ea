#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [--kernel K] [--arch A] [--append ARGS] [--add FILE]... [--system DIRECTORY] [--memory 2G] [--timeout SECONDS] [--icount] -- COMMAND [ARGS]
#
# Boots a Debian kernel in QEMU without hardware acceleration, runs the command there as root and ends
# with its exit code. Fails, with 1, when the kernel complains (panic, BUG, WARNING, stall, KASAN,
# lockdep) or when nothing came of it in time. Files are in the guest at the paths they have here.
# --system: a Debian with systemd, which is started there, and the command as a service once all else has.
# --icount: the guest's clock goes one nanosecond on with each instruction, so that its times are instructions.
set -euo pipefail

usage() {
	sed -n '3,9s/^# \{0,1\}//p' "$0"
	echo "kernels: 5.10 6.1 (default) 6.12 backports, or a Debian package's name; arches: x86_64 arm64"
}

here=$(cd "$(dirname "$0")" && pwd)
kernel=6.1
arch=x86_64
append=
timeout=300
icount=()
cpus=2
memory=2G
system=
init=/init
add=()
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2 && shift 2 ;;
	--arch) arch=$2 && shift 2 ;;
	--append) append=$2 && shift 2 ;;
	--add) add+=("$2") && shift 2 ;;
	--system) system=$(realpath "$2") init=/lib/systemd/systemd && shift 2 ;;
	--memory) memory=$2 && shift 2 ;;
	--timeout) timeout=$2 && shift 2 ;;
	# With -icount a second CPU does not come up.
	--icount) icount=(-icount "shift=0,sleep=off") cpus=1 && shift ;;
	--help) usage && exit 0 ;;
	--) shift && break ;;
	*) usage >&2 && exit 2 ;;
	esac
done
[ $# -gt 0 ] || { usage >&2 && exit 2; }

vmlinuz=$("$here/kernel.sh" "$kernel" "$arch")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A command that is a file here is taken along; any other is looked up in the guest.
if [[ $1 == */* && -f $1 ]]; then
	command=$(realpath "$1")
	add+=("$command")
	shift
	set -- "$command" "$@"
fi
printf '%q ' "$@" >"$work/command"
# arm64.sh leaves the libraries of the programs that it builds here.
[ "$arch" = arm64 ] && export MQSPAN_VM_SYSROOT=${MQSPAN_VM_SYSROOT:-${MQSPAN_CACHE:-$here/../../.cache}/vm/arm64/root}
"$here/initramfs.sh" "$work/initramfs" "$arch" "$(dirname "$vmlinuz")/fuse.ko" "$work/command" "${add[@]}"
[ -z "$system" ] || "$here/systemd.sh" "$work/initramfs" "$system"

case $arch in
x86_64)
	# One thread for all CPUs. With one thread per CPU, QEMU sometimes runs an instruction that the kernel is just
	# patching from another CPU, and the guest crashes or loops forever.
	# The kernel's console is on the first serial port, the command's output on the second.
	machine=(qemu-system-x86_64 -accel "tcg,thread=single" -cpu max -serial "file:$work/console" -serial stdio)
	console="console=ttyS0 mqspan.out=ttyS1"
	;;
arm64)
	# One port for both.
	machine=(qemu-system-aarch64 -M virt -accel "tcg,thread=single" -cpu cortex-a72 -serial stdio)
	console="console=ttyAMA0 mqspan.out=ttyAMA0"
	;;
esac

# Boots the guest. Prints its output, and keeps output and console in files.
boot() {
	code=0
	timeout --kill-after=10 "$timeout" "${machine[@]}" "${icount[@]}" -smp "$cpus" -m "$memory" -display none -monitor none -nodefaults \
		-no-user-config -no-reboot -kernel "$vmlinuz" -initrd "$work/initramfs" \
		-append "$console loglevel=7 panic=-1 oops=panic softlockup_panic=1 random.trust_cpu=on rdinit=$init $append" \
		</dev/null | tee "$work/output" || code=$?
	if [ "$arch" = arm64 ]; then mv "$work/output" "$work/console"; fi
}

# Whether the failure is the emulator's and not the kernel's: it ran an instruction that was being patched on another
# CPU, or the kernel died before the guest's first program.
emulator_failed() {
	grep -qaE 'Oops: int3' "$work/console" ||
		{ grep -qa 'Kernel panic' "$work/console" && ! grep -qa "Run $init as init process" "$work/console"; }
}

failed() {
	echo "vm: $1" >&2
	echo "vm: the end of the console ($kernel, $arch):" >&2
	tail -n 40 "$work/console" >&2
	exit 1
}

for attempt in 1 2 3; do
	boot
	emulator_failed || break
	# matrix.sh looks for this line, to count no case twice.
	[ "$attempt" = 3 ] || echo "vm: the emulator failed the kernel; from the beginning"
done

complaints='Kernel panic|BUG: |BUG at |kernel BUG|WARNING: |Oops|general protection fault|KASAN|UBSAN|rcu.*(stall|detected)|soft lockup|hard LOCKUP|blocked for more than|possible (circular|recursive) locking|inconsistent lock state|possible irq lock|suspicious RCU|[Cc]all [Tt]race:'
if grep -aE "$complaints" "$work/console" >"$work/complaints"; then
	sed 's/^/vm: /' "$work/complaints" >&2
	failed "the kernel complained"
fi
[ "$code" -eq 124 ] || [ "$code" -eq 137 ] && failed "not done within $timeout s"
exit_code=$(grep -aoE 'mqspan-vm-exit: [0-9]+' "$work/console" | tail -n 1 | grep -oE '[0-9]+$') ||
	failed "the guest ended without an exit code (qemu: $code)"
exit "$exit_code"
