# SPDX-License-Identifier: Apache-2.0
.DEFAULT_GOAL := help

help: ## this list
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

build: ## the agent: target/release/mqspan
	tests/install-deps.sh --for build
	cargo build --release -p mqspan

demo: ## trace two programs that talk over queues; ten seconds
	tests/demo.sh

test: ## everything that CI runs: checks, unit tests, end to end here and in a test kernel
	tests/run.sh

unit: ## unit tests alone
	cargo test --workspace

BACKEND ?= tracepoint
E2E_ARGS ?=
e2e: programs ## end to end on this machine; BACKEND=tracepoint|fentry|kprobe, E2E_ARGS="--filter NAME"
	tests/install-deps.sh --for test
	target/debug/mqspan-e2e --agent target/release/mqspan --backend $(BACKEND) --workload target/workload/mqwork-x86_64 \
		--workload32 target/workload/mqwork-i386 $(E2E_ARGS)

HOSTILE_SECONDS ?= 60
hostile: programs ## users who attack the agent while another is traced; HOSTILE_SECONDS=60 for each of some twenty attacks, BACKEND as for e2e
	target/debug/mqspan-e2e --agent target/release/mqspan --backend $(BACKEND) --workload target/workload/mqwork-x86_64 \
		--workload32 target/workload/mqwork-i386 --filter "^(hostile|identity|limits|shares)_" --hostile-seconds $(HOSTILE_SECONDS)

SOAK_SECONDS ?= 3600
soak: programs ## an hour of stress-ng, new processes, reloads and a collector that comes and goes, and how memory grew; KERNEL=6.1 for a test kernel, where the clock is set too
	tests/install-deps.sh --for vm
	tests/soak.sh $(SOAK_SECONDS) $(if $(filter command line,$(origin KERNEL)),$(KERNEL) $(firstword $(VM_BACKENDS)))

oracle: programs ## hold the agent against strace on stress-ng, pmqtest and posix_ipc, 64 and 32 bits; two minutes
	tests/install-deps.sh --for test
	tests/oracle/run.sh $(BACKEND)

kubernetes: programs ## names of pods from a real API server, which is built from its Go modules and takes every object of the chart
	tests/install-deps.sh --for kubernetes
	tests/kubernetes/run.sh
	tests/kubernetes/chart.sh

cluster: programs ## helm installs the chart in a real cluster of one node, which is built from its Go modules; after make image, as root
	tests/install-deps.sh --for cluster
	tests/kubernetes/cluster.sh

sbom: ## a software bill of materials of the agent: target/dist/mqspan.cdx.json
	tests/install-deps.sh --for sbom
	tests/sbom.sh

DENY ?=
deny: ## licences, sources and advisories of what mqspan is built of, by cargo deny; DENY="bans licenses sources" without network
	tests/deny.sh $(DENY)

chart: programs ## render the Helm chart in each of its shapes, and compare; builds helm from its Go modules if there is none
	tests/install-deps.sh --for chart
	HELM=$$(tests/helm.sh) helm/check.sh

generate: programs ## config/mqspan.yaml, its schema and the chart's, from agent/src/config/tree.rs; tables of losses and metrics in the documents
	tests/install-deps.sh --for chart
	MQSPAN_GENERATE=1 cargo test -q -p mqspan --lib config::tests::generated
	MQSPAN_GENERATE=1 cargo test -q -p mqspan --test documents
	HELM=$$(tests/helm.sh) helm/check.sh --write

deb: programs ## a Debian package in target/debian, with unit, manual pages and completions; tried in a fresh Debian, under systemd in QEMU; as root
	tests/install-deps.sh --for deb
	tests/deb/run.sh

alerts: programs ## promtool, built from its Go module, checks alerts and dashboard, and fires the alerts on made-up series
	tests/install-deps.sh --for alerts
	tests/prometheus/run.sh

pipeline: programs ## a real Collector and a real Jaeger, built from their Go modules, get the agent's spans, in QEMU; KERNEL=6.1
	tests/install-deps.sh --for vm
	tests/pipeline/run.sh $(KERNEL)

image: programs ## build the Dockerfile, and run the image under the chart's security context; wants Go
	tests/install-deps.sh --for image
	tests/image/run.sh

mutants: programs ## break mqspan in many places, and see a case fail at each; half an hour
	tests/install-deps.sh --for test
	tests/mutants.sh

FUZZ_SECONDS ?= 60
fuzz: ## made-up records and requests through decoder, encoder and splitter; FUZZ_SECONDS=60 for each
	tests/fuzz.sh $(FUZZ_SECONDS)

BENCH_ARGS ?=
bench: programs ## what tracing costs, beside bpftrace, perf trace, strace and collectors, in one run; BENCH_ARGS="--only calls"
	tests/install-deps.sh --for bench
	mkdir -p target/bench
	tests/bench/rivals.sh .cache/bench
	cargo build --release -p mqspan-tests
	cargo bench -p mqspan --bench encode --no-run --message-format=json | sed -n 's|.*"executable":"\([^"]*/encode-[^"]*\)".*|\1|p' | \
		xargs -I{} cp {} target/bench/encode
	$(CC) -O2 -Wall -Wextra -o target/bench/floor tests/bench/floor.c
	target/release/mqspan-bench --agent target/release/mqspan --workload target/workload/mqwork-x86_64 \
		--floor target/bench/floor --encoder target/bench/encode --bpftrace-script tests/bench/mq.bt --rivals .cache/bench --output target/bench/table.md $(BENCH_ARGS)

instructions: programs ## what one call takes, traced and not, in instructions, in QEMU; KERNEL=6.1
	tests/install-deps.sh --for vm
	tests/bench/instructions.sh $(KERNEL)

ARCH ?= x86_64
KERNEL ?= $(if $(filter arm64,$(ARCH)),6.12,6.1)
VM_BACKENDS ?= fentry kprobe
vm: $(if $(filter arm64,$(ARCH)),programs-arm64,programs) ## end to end in QEMU; KERNEL=5.10|6.1|6.12|backports, ARCH=arm64, VM_BACKENDS="fentry kprobe tracepoint"
	tests/install-deps.sh --for vm
	tests/vm/e2e.sh --arch $(ARCH) $(KERNEL) $(VM_BACKENDS) -- $(E2E_ARGS)

KERNELS ?= 5.10 6.1 6.1:preempt=full,kprobe 6.12 backports 6.12/arm64
kernels: $(if $(filter-out %/arm64,$(KERNELS)),programs) $(if $(filter %/arm64,$(KERNELS)),programs-arm64) ## the same on every kernel and backend, with a table at the end; an hour and a half
	tests/install-deps.sh --for vm
	tests/vm/matrix.sh $(KERNELS)

fresh: ## the two commands of the README, make demo and make test, in a Debian that debootstrap has just made; as root, an hour
	tests/install-deps.sh --for fresh
	tests/fresh.sh

NIGHTLY ?=
nightly: ## the long tests one after the other, with a table at the end; NIGHTLY="image deb" for some, HOSTILE_SECONDS=150
	tests/nightly.sh $(NIGHTLY)

programs:
	tests/install-deps.sh --for demo
	cargo build --release -p mqspan
	cargo build -p mqspan-tests
	$(MAKE) -s -C tests/workload
	$(MAKE) -s -C tests/hostile
	$(MAKE) -s -C tests/context

programs-arm64:
	tests/install-deps.sh --for arm64
	tests/vm/arm64.sh

fmt: ## format Rust and C
	cargo fmt --all
	git ls-files -z 'bpf/*.c' 'bpf/*.h' 'tests/*.c' 'tests/*.h' | xargs -0 clang-format -i

lint: ## clippy, shellcheck
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p mqspan -- -D warnings
	git ls-files -z '*.sh' .ci/run tests/vm/init | xargs -0 shellcheck

.PHONY: help alerts bench build chart cluster deb demo deny fresh fuzz generate hostile image instructions pipeline test unit e2e oracle sbom kubernetes mutants nightly soak vm kernels programs programs-arm64 fmt lint
