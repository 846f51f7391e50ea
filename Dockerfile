# SPDX-License-Identifier: Apache-2.0
# The agent in a small image. Dependencies are a layer of their own, built from the manifests alone.
FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates clang libelf-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY agent/Cargo.toml agent/
COPY testkit/Cargo.toml testkit/
COPY tests/Cargo.toml tests/
# Crates that do nothing stand for ours, so that all that ours need are built. Cargo wants every file that a manifest names, and the lints
# want documents.
RUN mkdir -p agent/src agent/benches testkit/src tests/src/bin \
    && for file in agent/build.rs agent/src/main.rs agent/benches/encode.rs $(sed -n 's|^path = "\(.*\)"|tests/\1|p' tests/Cargo.toml); do \
        printf '//! Nothing.\nfn main() {}\n' >"$file" || exit; done \
    && echo '//! Nothing.' | tee agent/src/lib.rs testkit/src/lib.rs >tests/src/lib.rs \
    && cargo build --release --locked -p mqspan
COPY agent agent
COPY bpf bpf
# Cargo goes by times: what was copied may be older than what was built.
RUN touch agent/build.rs agent/src/main.rs agent/src/lib.rs \
    && cargo build --release --locked -p mqspan \
    && install -D -m 0755 target/release/mqspan /out/usr/bin/mqspan \
    && mkdir -p /out/usr/share/man/man1 /out/usr/share/bash-completion/completions \
    && /out/usr/bin/mqspan man /out/usr/share/man/man1 \
    && /out/usr/bin/mqspan completions bash >/out/usr/share/bash-completion/completions/mqspan

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
    && apt-get install -y --no-install-recommends libelf1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log
# The certificates alone: Debian's package of them brings OpenSSL along.
COPY --from=build --chown=0:0 /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
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
