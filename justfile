# What people do here; `just` alone lists it.

_list:
    @just --list --unsorted

# Format, lints, documentation.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Every test, unit to end-to-end.
test:
    cargo test --workspace

# The synthetic junction: detect, track, count.
demo *flags:
    cargo run --release -- demo {{flags}}

# People in a real video, which is fetched.
people *flags:
    cargo run --release -- run people {{flags}}

# What has to pass before a change is taken.
ci:
    .ci/run
