#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# debian.sh ARCH PACKAGE...: prints a directory with these packages of Debian 12 for amd64 or i386 and their
# dependencies, unpacked and not installed. apt fetches them once; then they are cached.
set -euo pipefail

arch=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/oracle
unpacked=$cache/$arch
if [ "$(cat "$unpacked/packages" 2>/dev/null)" = "$*" ]; then
	echo "$unpacked"
	exit 0
fi

# A private state directory: nothing is installed, and no architecture is added to the machine.
state=$cache/apt-$arch
# shellcheck source=tests/vm/debian.sh
. "$root/tests/vm/debian.sh"
debian_apt "$state" "$arch" bookworm "debian.sh: fetching for $arch from Debian: $*"
rm -f "$state/archives"/*.deb
apt-get "${apt_options[@]}" -qq --download-only --yes --no-install-recommends install "$@" >&2

rm -rf "$unpacked" "$unpacked.new"
mkdir "$unpacked.new"
for deb in "$state/archives"/*.deb; do
	dpkg-deb -x "$deb" "$unpacked.new"
done
rm -f "$state/archives"/*.deb
echo "$*" >"$unpacked.new/packages"
mv "$unpacked.new" "$unpacked"
echo "$unpacked"
