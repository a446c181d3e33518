# The daily loop. `just` alone lists it.

_default:
    @just --list --unsorted

# What every commit must pass: formatting, lints, tests, documentation.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Everything, as the integration machine does it; STEP is one of the names it prints.
ci STEP="":
    .ci/run {{ STEP }}

# The tests of one crate: `just t codec`.
t CRATE *ARGS:
    cargo test --package dunlin-{{ CRATE }} {{ ARGS }}

# The simulation of two sessions over a bad network, with the seed that a failure printed.
sim SEED:
    DUNLIN_SIM_SEED={{ SEED }} cargo test --package dunlin-session --test simulation -- --nocapture

# Searches with one fuzz target: `just fuzz decode 60`.
fuzz TARGET SECS="60":
    cargo +nightly fuzz run {{ TARGET }} -- -max_total_time={{ SECS }} -dict=fuzz/mqtt.dict

# One group of benches: `just bench topics`; `just bench peers` for Dunlin beside other brokers, into docs/BENCHMARKS.md.
bench NAME *ARGS:
    {{ if NAME == "peers" { "benches/peers/run" } else { "cargo bench --package dunlin-benches --features peers --bench " + NAME + " --" } }} {{ ARGS }}

# The program with each allocator, side by side: processor time, idle connections, memory after a burst. Linux, 15 minutes.
allocators:
    #!/usr/bin/env bash
    set -eu
    folder="${CARGO_TARGET_DIR:-target}/release"
    for allocator in system mimalloc jemalloc; do
        features=databases,quic,tls,websocket
        [ "$allocator" = system ] || features=$features,$allocator
        cargo build --release --locked --no-default-features --features "$features"
        cp "$folder/dunlin" "$folder/dunlin-$allocator"
    done
    cargo run --release --package dunlin-benches --bin connections -- compare \
        "system=$folder/dunlin-system" "mimalloc=$folder/dunlin-mimalloc" "jemalloc=$folder/dunlin-jemalloc"

# Which statements of the standards are cited, and by what.
spec:
    cargo xtask spec

# A broker with the default configuration.
run *ARGS:
    cargo run --release -- {{ ARGS }}

# Real clients against the broker.
interop *ARGS:
    cargo build --release
    tests/interop/run {{ ARGS }} "${CARGO_TARGET_DIR:-target}/release/dunlin"
