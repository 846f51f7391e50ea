#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# helm.sh: prints the path of helm. If there is none, builds it from its Go modules, once, which takes some minutes.
set -euo pipefail

cache=$(cd "$(dirname "$0")/.." && pwd)/.cache/helm
if command -v helm; then
	exit
fi
if [ ! -x "$cache/helm" ]; then
	command -v go >/dev/null || { echo "helm: there is no helm here, and no Go to build it with" >&2 && exit 1; }
	echo "helm: building helm" >&2
	mkdir -p "$cache"
	GOBIN=$cache go install helm.sh/helm/v3/cmd/helm@v3.22.0 >&2
fi
echo "$cache/helm"
