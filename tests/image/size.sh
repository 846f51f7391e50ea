#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# size.sh OCI_LAYOUT COMPRESSED_LIMIT OURS_LIMIT: prints the sizes of the image's layers, of which the first is the
# base. Fails if the whole image, compressed, or our layers, uncompressed, are above the limits, in bytes.
set -euo pipefail

layout=$1
blob() {
	echo "$layout/blobs/${1/://}"
}
manifest=$(blob "$(jq -r '.manifests[0].digest' "$layout/index.json")")
compressed=0
ours=0
base=
while read -r digest size; do
	uncompressed=$(gzip -dc "$(blob "$digest")" | wc -c)
	compressed=$((compressed + size))
	if [ -z "$base" ]; then
		base=$uncompressed
		echo "image: base: $base bytes, $size compressed"
	else
		ours=$((ours + uncompressed))
		ours_compressed=$((${ours_compressed:-0} + size))
	fi
done < <(jq -r '.layers[] | "\(.digest) \(.size)"' "$manifest")
echo "image: ours: $ours bytes, $ours_compressed compressed"
echo "image: whole: $((base + ours)) bytes, $compressed compressed"
if [ "$compressed" -gt "$2" ] || [ "$ours" -gt "$3" ]; then
	echo "image: larger than $2 compressed, or ours than $3" >&2
	exit 1
fi
