# One static program, the roots of the public certificate authorities, and nothing else: docs/docker.md.
#
# linux/amd64 and linux/arm64 are both built on the builder's own kind of processor, never under emulation.
# To pin the base by its digest: --build-arg RUST_IMAGE=docker.io/library/rust@sha256:...
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
# The list of what is in the image, where one is made (buildx --sbom=true), is made of the sources with Cargo.lock: the program
# by itself tells nothing.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

# What changes seldom: the compiler for the target, and the dependencies, built with it.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS dependencies
WORKDIR /build
SHELL ["/bin/sh", "-eu", "-c"]

# The compiler's name tells the kind of processor on both, so that native is no case of its own.
ARG TARGETARCH
# Static for an image that holds nothing else. On a system of its own it must not be: a static glibc does not go with the
# libnss_* that it would find there (release.yml).
ARG CRT=+crt-static
# hadolint ignore=DL3008 # Debian keeps one version of a package, so a pinned one is gone after its next repair.
RUN case "$TARGETARCH" in \
        amd64) cpu=x86_64; set -- gcc-x86-64-linux-gnu libc6-dev-amd64-cross ;; \
        arm64) cpu=aarch64; set -- gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;; \
        *) echo "no image for $TARGETARCH: there are amd64 and arm64" >&2; exit 1 ;; \
    esac; \
    target=$cpu-unknown-linux-gnu; \
    if ! command -v "$cpu-linux-gnu-gcc" >/dev/null; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends "$@"; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || rustup target add "$target"; \
    mkdir .cargo; \
    printf '%s\n' '[build]' "target = \"$target\"" "[target.$target]" "linker = \"$cpu-linux-gnu-gcc\"" \
        "rustflags = [\"-C\", \"target-feature=$CRT\"]" >.cargo/config.toml

# A crate of nothing but its dependencies. What was built of itself goes again: cargo looks at times, and our sources may
# well be older than these.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches; \
    sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml >benches/names; \
    while read -r name; do touch "benches/$name.rs"; done <benches/names; \
    touch src/lib.rs; \
    echo 'fn main() {}' >build.rs; \
    cp build.rs src/main.rs; \
    cargo build --locked --release; \
    cargo clean --locked --release --package btcpool-exporter; \
    rm -r build.rs src

FROM dependencies AS build
SHELL ["/bin/sh", "-eu", "-c"]
COPY build.rs ./
COPY src src
COPY templates templates
ARG REVISION=unknown
RUN SOURCE_REVISION=$REVISION cargo build --locked --release --bin btcpool-exporter
COPY LICENSE-APACHE LICENSE-MIT ./
RUN install -D target/*/release/btcpool-exporter /image/usr/bin/btcpool-exporter; \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt; \
    install -D -m 644 -t /image/usr/share/doc/btcpool-exporter LICENSE-APACHE LICENSE-MIT; \
    install -d /image/etc/btcpool-exporter; \
    printf '%s\n' '# Of the pool as a whole only, without a key. Mount a configuration of your own over this file.' \
        'accounts: {}' >/image/etc/btcpool-exporter/btcpool.yml

# The program alone, for those who want it as a file.
FROM scratch AS files
COPY --from=build /image/usr/bin /usr/bin

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="btcpool-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the BTCpool.kz mining pool" \
      org.opencontainers.image.source="https://github.com/btcpool-exporter/btcpool-exporter" \
      org.opencontainers.image.documentation="https://github.com/btcpool-exporter/btcpool-exporter/blob/main/docs/docker.md" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /image /
USER 65532:65532
EXPOSE 10058
# It asks where the same file, or the environment, has the exporter listen; flags of yours it does not see.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/bin/btcpool-exporter", "health", "--config.file=/etc/btcpool-exporter/btcpool.yml"]
ENTRYPOINT ["/usr/bin/btcpool-exporter"]
# A command of yours comes in the place of this: demo takes no configuration.
CMD ["--config.file=/etc/btcpool-exporter/btcpool.yml"]
