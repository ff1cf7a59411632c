# Common commands; `just` lists them. https://just.systems

gateway := env("CARGO_TARGET_DIR", justfile_directory() / "target") / "debug/pai-image-gateway"

# List the recipes.
default:
    @just --list

# Type-check everything, tests and benchmarks included.
check:
    cargo check --workspace --all-targets --locked

# Format the code.
fmt:
    cargo fmt --all

# Check format, lints, prose and sizes as continuous integration does.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    .ci/check-words
    .ci/check-sizes

# Run unit and integration tests; `just test NAME` runs those whose path contains NAME.
test *name:
    cargo test --workspace --locked {{ name }}

# Run the unit tests of one module: `just unit cache::freshness`.
unit *module:
    cargo test --workspace --locked --lib {{ module }}

# Start an emulated origin, a gateway and a load generator.
demo *options:
    cargo run --release --locked -- demo {{ options }}

# Run a gateway with debug logs: `just serve --set upstream.region=cn-beijing`.
serve *options:
    cargo run --locked -- serve --set log.level=debug {{ options }}

# Write the generated pages of docs.
docs:
    cargo build --locked
    {{ gateway }} docs settings >docs/configuration.md
    {{ gateway }} docs metrics >docs/metrics.md
    {{ gateway }} docs commands >docs/commands.md
    {{ gateway }} docs emulator >docs/emulator.md

# Build the documentation of the code.
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# Run the vendor's SDKs against a release build.
sdk *arguments:
    tests/sdk/run {{ arguments }}

# Attack a running gateway.
attacks *filter:
    tests/attacks/run {{ filter }}

# Fuzz each target for some seconds.
fuzz seconds="20":
    fuzz/run {{ seconds }}

# Count the instructions of a hit.
instructions:
    benches/instructions

# Run everything that a change must pass. Takes more than an hour.
ci:
    .ci/run
