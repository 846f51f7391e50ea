# SPDX-License-Identifier: Apache-2.0
# The agent in a small image. Dependencies are a layer of their own, built from the manifests alone.
FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang llvm libelf-dev zlib1g-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY agent/Cargo.toml agent/
COPY tests/Cargo.toml tests/
# Programs that do nothing stand for ours, so that all crates that ours need are built.
RUN mkdir -p agent/src agent/benches tests/src \
    && echo 'fn main() {}' | tee agent/src/main.rs agent/build.rs agent/benches/encode.rs tests/src/main.rs >/dev/null \
    && touch agent/src/lib.rs \
    && cargo build --release --locked -p mqspan
COPY agent agent
COPY bpf bpf
# Cargo goes by times: what was copied may be older than what was built.
RUN touch agent/build.rs agent/src/main.rs agent/src/lib.rs \
    && cargo build --release --locked -p mqspan \
    && install -D -m 0755 target/release/mqspan /out/usr/bin/mqspan

FROM debian:bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="mqspan" \
      org.opencontainers.image.description="OpenTelemetry tracing agent for Linux POSIX message queues" \
      org.opencontainers.image.source="https://github.com/mqspan/mqspan" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update \
    && apt-get install -y --no-install-recommends libelf1 ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build --chown=0:0 /out/ /
COPY --chown=0:0 --chmod=0644 config/mqspan.yaml /etc/mqspan/mqspan.yaml
COPY --chown=0:0 --chmod=0644 LICENSE /usr/share/doc/mqspan/LICENSE
COPY --chown=0:0 --chmod=0644 bpf/LICENSE /usr/share/doc/mqspan/LICENSE.bpf
# User 0 without its capabilities: Kubernetes gives capabilities to no other user, and files with capabilities would not start where
# privileges must not grow (allowPrivilegeEscalation: false).
USER 0:0
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/mqspan"]
CMD ["run", "--config", "/etc/mqspan/mqspan.yaml"]
