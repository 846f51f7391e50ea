#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# debian.sh ARCH PACKAGE...: prints a folder with these packages of Debian 12 for amd64 or i386 and what they depend
# on, unpacked and not installed; fetched by apt once and then cached.
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

# Debian itself names its mirror; elsewhere it has to be named.
# shellcheck disable=SC2016 # the names in the format are apt's
mirror=${MQSPAN_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(SITE)' |
	awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')}
if [ -z "$mirror" ]; then
	echo "debian.sh: apt knows no Debian mirror here: set MQSPAN_DEBIAN_MIRROR to the URL of one" >&2
	exit 1
fi

# A state directory of our own: nothing is installed here, and no architecture is added to the machine's.
state=$cache/apt-$arch
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$state/lists/partial" "$state/archives/partial"
: >"$state/status"
echo "deb [signed-by=$keyring] $mirror bookworm main" >"$state/sources.list"
apt_options=(
	-o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::State::lists=$state/lists"
	-o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives"
	-o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
	-o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
	-o "APT::Sandbox::User=root" -o "Acquire::Retries=3" -o "Acquire::Languages=none"
)
echo "debian.sh: fetching for $arch from Debian: $*" >&2
apt-get "${apt_options[@]}" -qq update >&2
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
