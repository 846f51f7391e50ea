// SPDX-License-Identifier: Apache-2.0

// Reads a container's OCI configuration, and writes it with containerd's default seccomp profile for its capabilities: what Kubernetes calls
// RuntimeDefault.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func main() {
	var spec specs.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		log.Fatal("a configuration: ", err)
	}
	spec.Linux.Seccomp = seccomp.DefaultProfile(&spec)
	if err := json.NewEncoder(os.Stdout).Encode(&spec); err != nil {
		log.Fatal(err)
	}
}
