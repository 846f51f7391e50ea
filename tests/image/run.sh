#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh: builds the Dockerfile on base images made here and checks the result, then runs it as the chart would
# (trace.sh). Needs root, Rust, Go, and the agent's programs: make programs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/image/buildah.sh
. "$here/buildah.sh"
image=localhost/mqspan:test
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
revision=$(git -C "$root" rev-parse HEAD)
# Bytes: the whole image, compressed, and our own layers, uncompressed.
compressed_limit=60000000
ours_limit=40000000

fail() {
	echo "image: $*" >&2
	exit 1
}

[ "$(id -u)" -eq 0 ] || fail "mounts and containers want root"
work=$(mktemp -d "$image_cache/look.XXXXXX")
container=
end() {
	[ -z "$container" ] || buildah rm "$container" >/dev/null
	rm -rf "$work"
}
trap end EXIT

"$root/tests/pipeline/build.sh" otelcol jaeger
# Built now, because trace.sh has no network.
(cd "$here/seccomp" && go build -o "$image_cache/default-seccomp" .)
"$here/bases.sh"
echo "image: building; some minutes"
buildah build --pull-never --layers --network host --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$image" \
	"$root" >"$image_cache/build.log" 2>&1 || { tail -n 30 "$image_cache/build.log" >&2 && fail "the build failed"; }
container=$(buildah from --pull-never "$image")
rootfs=$(buildah mount "$container")

config() {
	buildah inspect --type image "$image" | jq -er ".OCIv1.config$1"
}
# labelled NAME VALUE
labelled() {
	[ "$(config ".Labels.\"org.opencontainers.image.$1\"")" = "$2" ] || fail "label $1 is $(config ".Labels.\"org.opencontainers.image.$1\""), not $2"
}
labelled title mqspan
labelled licenses "Apache-2.0 AND GPL-2.0-only"
labelled version "$version"
labelled revision "$revision"
labelled source "$(sed -n 's/^repository = "\(.*\)"/\1/p' "$root/Cargo.toml")"
[ "$(config .User) $(config .StopSignal)" = "0:0 SIGTERM" ] || fail "user or signal: $(config '')"
echo "image: labels: $(config .Labels | jq -r 'to_entries[] | select(.key | startswith("org.")) | "\(.key[25:])=\(.value)"' | paste -sd ';')"

for tool in cc gcc clang ld as make cargo rustc pkg-config git curl; do
	for directory in bin sbin usr/bin usr/sbin usr/local/bin; do
		[ ! -e "$rootfs/$directory/$tool" ] || fail "the image has /$directory/$tool"
	done
done
[ ! -e "$rootfs/src" ] || fail "the image has the build's files"
echo "image: no compiler, no sources"

# Without capabilities, user 0 can read only what is its own or everyone's, like any other user.
for file in usr/bin/mqspan:755 etc/mqspan/mqspan.yaml:644 usr/share/doc/mqspan/LICENSE:644 usr/share/doc/mqspan/LICENSE.bpf:644 \
	usr/share/man/man1/mqspan.1:644 usr/share/man/man1/mqspan-run.1:644 usr/share/bash-completion/completions/mqspan:644 \
	etc/ssl/certs/ca-certificates.crt:644; do
	[ "$(stat -c %u:%g:%a "$rootfs/${file%:*}")" = "0:0:${file#*:}" ] || fail "$(stat -c '%n is %u:%g %a' "$rootfs/${file%:*}")"
done
others=$(find "$rootfs" -xdev ! -user 0 ! -name partial -o -xdev -type f -perm -002)
[ -z "$others" ] || fail "of other users, or writable by them: $others"
echo "image: all files are root's, and no file is writable by others"

buildah push --quiet "$image" "oci:$work/oci:test"
"$here/size.sh" "$work/oci" "$compressed_limit" "$ours_limit"
du -ab "$rootfs" | sort -rn | awk -v root="$rootfs" '{ sub(root, "", $2) } $2 ~ /\.[^/]*$|mqspan$/ && $1 > 900000 { print "image:     " $1, $2 }' |
	grep -vE '/\.build-id' | head -n 12


unshare --net --mount "$here/trace.sh" "$rootfs" "$work" "$version" "$(config '.Entrypoint' | jq -c .)"
