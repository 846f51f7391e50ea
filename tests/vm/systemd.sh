#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# systemd.sh INITRAMFS DIRECTORY: puts a Debian with systemd before the files that initramfs.sh packed, and a service
# that runs /command, reports its exit code and powers off. Where both have programs or libraries of the same name,
# Debian's are used.
set -euo pipefail

initramfs=$1
system=$2
overlay=$(mktemp -d)
trap 'rm -rf "$overlay"' EXIT
chmod 755 "$overlay"

# Keeps only the files that were added and the command, not the rest of the small system.
(cd "$overlay" && cpio --quiet -idm --no-absolute-filenames <"$initramfs")
rm -rf "${overlay:?}"/{bin,dev,etc,proc,sys,run,usr,lib,lib64,root,init}
mkdir -p "$overlay/etc/systemd/system/multi-user.target.wants"
cat >"$overlay/etc/systemd/system/command.service" <<'UNIT'
[Unit]
Description=The command of this test
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'stty -F /dev/ttyS1 raw -echo; sh /command >/dev/ttyS1 2>&1; code=$$?; stty -F /dev/ttyS1 sane; echo "mqspan-vm-exit: $$code" >/dev/kmsg; systemctl poweroff --force --force'
UNIT
ln -s ../command.service "$overlay/etc/systemd/system/multi-user.target.wants/command.service"
pack() {
	(cd "$1" && find . -xdev -print0 | sort -z | cpio --null --quiet -o -H newc --owner +0:+0)
}
{ pack "$system" && pack "$overlay"; } >"$initramfs"
