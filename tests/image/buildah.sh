# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# To be sourced: buildah with a private store for images, in .cache/image. Builds run in a chroot with the machine's
# network.

image_cache=$(realpath -m "${MQSPAN_CACHE:-$(dirname "${BASH_SOURCE[0]}")/../../.cache}/image")
mkdir -p "$image_cache"
export BUILDAH_ISOLATION=chroot
# Overlays if the kernel has them, otherwise full copies.
storage_driver=vfs
grep -q overlay /proc/filesystems && storage_driver=overlay

buildah() {
	command buildah --root "$image_cache/storage" --runroot "$image_cache/run" --storage-driver "$storage_driver" "$@"
}

# has_image NAME WHAT: whether there is an image of that name, made from WHAT.
has_image() {
	[ "$(buildah inspect --type image --format '{{index .OCIv1.Config.Labels "from"}}' "$1" 2>/dev/null)" = "$2" ]
}
