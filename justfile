# Shortcuts for people with `just`; each is one command that works without it. The checks live in .ci/run.

# What a change must pass before it is pushed. Writes nothing but target/.
verify:
    bash .ci/run format lint docs features test

# Everything that CI runs.
ci:
    bash .ci/run

# One or more sections: commits lock format lint docs features test package examples demo interop nats sim crash ffi python counts fuzz deny.
check +sections:
    bash .ci/run {{ sections }}

# Writes: formats the code and applies clippy's safe suggestions.
fix:
    cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets --all-features
    cargo fmt --all

# The tests, as in the README; arguments go to cargo test.
test *arguments:
    cargo test --workspace --all-features {{ arguments }}

# Many seeds of the simulation, optimised.
sim seeds="2000":
    RC_SIM_SEEDS={{ seeds }} bash .ci/run sim

# The main job in one command.
demo *arguments:
    cargo run --release -- demo {{ arguments }}

# libsds.so and libsds.a, their headers and pkg-config files below PREFIX.
install-libsds prefix:
    crates/ffi/install.sh {{ prefix }}

# Known vulnerabilities; needs the network.
advisories:
    cargo deny check advisories
