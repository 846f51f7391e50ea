#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fresh.sh: runs the README's two commands, `make demo` and `make test`, as a newcomer would: in a new Debian 12 from debootstrap, with this
# machine's Rust, make, and a clone of HEAD. Ends with a table, and fails if either command did. Output goes to target/fresh/*.log.
# Needs root, Rust, what `install-deps.sh --for fresh` installs, an hour on two CPUs, and 10 GB in .cache/fresh until it ends.
# FRESH_CARGO_HOME=~/.cargo copies the crates that are there instead of downloading them.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tests/vm/debian.sh
. "$root/tests/vm/debian.sh"
cache=$(realpath -m "${MQSPAN_CACHE:-$root/.cache}/fresh")
logs=$root/target/fresh

say() {
	echo "fresh: $SECONDS s: $*"
}
fail() {
	echo "fresh: $*" >&2
	exit 1
}

[ "$(id -u)" -eq 0 ] || fail "only root can mount: sudo make fresh"
rust=$(rustc --print sysroot)
for program in cargo rustc cargo-clippy rustfmt; do
	[ -x "$rust/bin/$program" ] || fail "the toolchain in $rust has no $program: rustup component add clippy rustfmt"
done
mkdir -p "$cache/archives" "$logs"
debian=$(mktemp -d "$cache/root.XXXXXX")
# Some cases run programs as nobody, whom mktemp would not let in.
chmod 755 "$debian"
running=

# Kills everything that has that Debian as its root, daemons included.
end_running() {
	local process identity
	[ -z "$running" ] || kill -KILL -- "-$running" 2>/dev/null || true
	running=
	identity=$(stat -c %d:%i "$debian")
	for process in /proc/[0-9]*; do
		[ "$(stat -L -c %d:%i "$process/root" 2>/dev/null)" != "$identity" ] || kill -KILL "${process#/proc/}" 2>/dev/null || true
	done
}
end() {
	end_running
	# Its mounts are in namespaces that end with its processes.
	rm -rf --one-file-system "$debian"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# inside COMMAND...: in that Debian. Process ids are this machine's, because BPF reports no others. runc cannot pivot_root out of a chroot, so
# this is no chroot. The command runs in the background, where it does not delay this shell's traps, and in a process group of its own: without
# job control, the shell would make it ignore SIGINT.
inside() {
	local code=0
	set -m
	# shellcheck disable=SC2016 # these are the inner shell's
	unshare --mount --propagation private bash -euc '
		root=$1 rust=$2
		shift 2
		mount --bind "$root" "$root"
		for directory in proc sys dev; do
			mount --rbind "/$directory" "$root/$directory"
		done
		mkdir -p "$root/usr/local/rust"
		mount --bind "$rust" "$root/usr/local/rust"
		mount -o remount,bind,ro "$root/usr/local/rust"
		cd "$root"
		pivot_root . mnt
		umount --lazy /mnt
		mkdir -p /root/mqspan
		cd /root/mqspan
		exec env -i PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=xterm "$@"
	' inside "$debian" "$rust" "${variables[@]}" "$@" </dev/null &
	running=$!
	set +m
	wait "$running" || code=$?
	end_running
	return "$code"
}

# Settings by which this machine reaches the network.
variables=()
for name in http_proxy https_proxy no_proxy PIP_INDEX_URL; do
	[ -z "${!name:-}" ] || variables+=("$name=${!name}")
done

say "making a Debian 12"
mirror=$(debian_mirror)
debootstrap --variant=minbase --cache-dir="$cache/archives" bookworm "$debian" "$mirror" >"$logs/debootstrap.log" 2>&1 ||
	{ tail -n 20 "$logs/debootstrap.log" >&2 && fail "no Debian"; }
cp /etc/resolv.conf /etc/hosts "$debian/etc/"
say "installing make, and git and ca-certificates to clone with"
inside sh -euc 'apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make git ca-certificates' \
	>"$logs/apt.log" 2>&1 || { tail -n 20 "$logs/apt.log" >&2 && fail "apt does not install make"; }
# Cargo uses this machine's settings for registries, and trusts the same certificates.
cat "${CARGO_HTTP_CAINFO:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}" >"$debian/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$debian/root/.cargo"
settings=${CARGO_HOME:-$HOME/.cargo}/config.toml
[ ! -f "$settings" ] || cp "$settings" "$debian/root/.cargo/"
if [ -n "${FRESH_CARGO_HOME:-}" ]; then
	mkdir "$debian/root/.cargo/registry"
	cp -a "$FRESH_CARGO_HOME"/registry/{cache,index} "$debian/root/.cargo/registry/"
fi
git clone --quiet --no-local "$root" "$debian/root/mqspan"
say "a clone of $(git -C "$root" log -1 --format='%h %s'), with $("$rust/bin/rustc" --version)"
[ -z "$(git -C "$root" status --porcelain)" ] || say "what is not committed is not in it"

# progress: shows the lines that tell how far a command is.
progress() {
	local line
	grep --line-buffered -E '^(== |-- .*FAILED|demo: |install-deps: )' | while IFS= read -r line; do
		say "    $line"
	done
}

failed=0
rows=()
for command in demo test; do
	log=$logs/$command.log
	say "make $command"
	began=$SECONDS
	code=0
	# In a pipe, inside() would be a subshell, and $running lost.
	exec {output}> >(tee "$log" | progress)
	reader=$!
	inside make "$command" >&"$output" 2>&1 || code=$?
	exec {output}>&-
	wait "$reader" || true
	last=$(tr -d '\r' <"$log" | sed 's/\x1b\[[0-9;]*m//g' | grep -avE '^(make(\[[0-9]+\])?: .*|[[:space:]]*)$' | tail -n 1 | tr -s ' ' | cut -c 1-120) || true
	if [ "$command" = test ]; then
		# Without this line nothing was tested.
		grep -qE '^[1-9][0-9]* passed, 0 failed$' "$log" || [ "$code" -ne 0 ] || code=1
	fi
	if [ "$code" -ne 0 ]; then
		failed=1
		echo "fresh: the end of make $command:"
		sed -n '/^== what failed/,$p' "$log" | grep . || tail -n 40 "$log"
	fi
	rows+=("| make $command | $code | $((SECONDS - began)) | ${last//|/ } |")
done

printf '\n| command | exit code | seconds | last line |\n|---|---:|---:|---|\n'
printf '%s\n' "${rows[@]}"
[ "$failed" -eq 0 ]
