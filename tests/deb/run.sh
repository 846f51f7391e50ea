#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh: builds the Debian package and installs it into a Debian that debootstrap makes. There it checks that the
# program runs, its configuration is valid, its manual pages format without a warning and the shells complete. Then it
# starts that Debian in a test kernel, where the unit traces (guest.sh). Needs root. Build first: make programs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/vm/debian.sh
. "$root/tests/vm/debian.sh"
cache=$(realpath -m "${MQSPAN_CACHE:-$root/.cache}/deb")
base=$cache/base
work=$(mktemp -d)
debian=$work/debian
trap 'rm -rf "$work"' EXIT

fail() {
	echo "deb: $*" >&2
	exit 1
}

package=$("$here/build.sh")
echo "deb: $(basename "$package"), $(stat -c %s "$package") bytes"

if [ ! -e "$base/ready" ]; then
	echo "deb: making a Debian 12"
	rm -rf "$base"
	mkdir -p "$cache"
	debootstrap --variant=minbase --include=libelf1,systemd,man-db,groff,bash-completion,zsh,fish bookworm "$base" "$(debian_mirror)" \
		>"$cache/debootstrap.log" || { tail -n 20 "$cache/debootstrap.log" >&2 && fail "no Debian"; }
	touch "$base/ready"
fi
cp -a "$base" "$debian"
cp "$package" "$debian/mqspan.deb"

# inside COMMAND...: runs it in that Debian, in its own mount namespace.
inside() {
	# shellcheck disable=SC2016 # these are the inner shell's
	unshare --mount bash -euc 'mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"' \
		inside "$debian" "$@"
}

inside dpkg --install /mqspan.deb >"$work/log" 2>&1 || { cat "$work/log" >&2 && fail "it does not install"; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
[ "$(inside mqspan --version)" = "mqspan $version" ] || fail "it does not run"
inside mqspan config check /etc/mqspan/mqspan.yaml >/dev/null || fail "its configuration is wrong"
# shellcheck disable=SC2016 # the format is dpkg-query's
inside dpkg-query --show --showformat '${Conffiles}' mqspan | grep -q /etc/mqspan/mqspan.yaml || fail "its configuration would be overwritten"
[ "$(inside stat -c %U:%a /usr/bin/mqspan)" = root:755 ] || fail "/usr/bin/mqspan: $(inside stat -c %U:%a /usr/bin/mqspan)"
echo "deb: installs and runs; its configuration is right, and is kept at an upgrade"

pages=0
for page in "$debian"/usr/share/man/man1/mqspan*.1.gz; do
	inside man --warnings=w -l "/usr/share/man/man1/$(basename "$page")" >"$work/page" 2>"$work/warnings"
	[ ! -s "$work/warnings" ] || { cat "$work/warnings" >&2 && fail "$(basename "$page")"; }
	grep -q mqspan "$work/page" || fail "$(basename "$page") is empty"
	pages=$((pages + 1))
done
for command in run trace top doctor config completions; do
	[ -e "$debian/usr/share/man/man1/mqspan-$command.1.gz" ] || fail "no manual page of mqspan $command"
done
echo "deb: $pages manual pages, no warning"

# What a user gets who types "mqspan tr" and presses the tab key.
# shellcheck disable=SC2016 # these are the inner shell's
completed=$(inside bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader mqspan || true
	COMP_WORDS=(mqspan tr) COMP_CWORD=1; _mqspan mqspan tr mqspan; echo "${COMPREPLY[*]}"')
[ "$completed" = trace ] || fail "bash completes mqspan tr to: $completed"
inside zsh -n /usr/share/zsh/vendor-completions/_mqspan || fail "zsh does not read its completions"
completed=$(inside fish --no-config -c 'source /usr/share/fish/vendor_completions.d/mqspan.fish; complete -C "mqspan tr"')
[ "${completed%%$'\t'*}" = trace ] || fail "fish completes mqspan tr to: $completed"
echo "deb: bash and fish complete, zsh reads"

unit=$(inside dpkg-query --listfiles mqspan | grep 'mqspan.service$') || fail "no unit"
inside systemd-analyze verify --man=no "$unit" 2>"$work/warnings" || { cat "$work/warnings" >&2 && fail "systemd does not take $unit"; }
[ ! -s "$work/warnings" ] || { cat "$work/warnings" >&2 && fail "systemd warns of $unit"; }
exposure=$(inside systemd-analyze security --offline=yes --no-pager "$unit" | tail -n 1) || true
echo "deb: systemd takes $unit; $exposure"

cp "$here/guest.sh" "$debian/root/guest.sh"
"$root/tests/vm/run.sh" --kernel "${KERNEL:-6.1}" --system "$debian" --memory 3G --timeout 600 --add "$root/target/workload/mqwork-x86_64" \
	--add "$root/target/workload/mqwork-i386" -- /root/guest.sh "$root/target/workload/mqwork-x86_64" "$root/target/workload/mqwork-i386" |
	sed 's/^/deb: /'

inside dpkg --purge mqspan >"$work/log" 2>&1 || { cat "$work/log" >&2 && fail "it does not go"; }
left=$(find "$debian" -xdev -path "$debian/var/lib/dpkg" -prune -o -name '*mqspan*' ! -name mqspan.deb -print)
[ -z "$left" ] || fail "it leaves behind: $left"
echo "deb: ok"
