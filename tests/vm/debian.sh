# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# To be sourced: fetches Debian packages with apt, apart from the machine's own lists and packages.

# debian_mirror: prints the URL of the mirror. On Debian apt knows it; elsewhere it has to be set.
debian_mirror() {
	local mirror
	# shellcheck disable=SC2016 # the names in the format are apt's
	mirror=${MQSPAN_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(SITE)' |
		awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')}
	if [ -z "$mirror" ]; then
		echo "apt knows no Debian mirror here: set MQSPAN_DEBIAN_MIRROR to the URL of one" >&2
		return 1
	fi
	echo "$mirror"
}

# debian_apt STATE_DIRECTORY "ARCHITECTURE..." "SUITE..." DOING: sets apt_options, and updates the lists.
debian_apt() {
	local state=$1 architectures=$2 suites=$3 doing=$4
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror suite architecture

	mirror=$(debian_mirror) || return 1
	if [ ! -s "$keyring" ]; then
		echo "$doing: $keyring is missing: tests/install-deps.sh --for vm" >&2
		return 1
	fi

	mkdir -p "$state/lists/partial" "$state/archives/partial"
	: >"$state/status"
	for suite in $suites; do
		echo "deb [signed-by=$keyring] $mirror $suite main"
	done >"$state/sources.list"
	apt_options=(
		-o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::State::lists=$state/lists"
		-o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives"
		-o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
		-o "APT::Architecture=${architectures%% *}"
		-o "APT::Sandbox::User=root" -o "Acquire::Retries=3" -o "Acquire::Languages=none"
	)
	for architecture in $architectures; do
		apt_options+=(-o "APT::Architectures::=$architecture")
	done
	echo "$doing" >&2
	apt-get "${apt_options[@]}" -qq update >&2
}
