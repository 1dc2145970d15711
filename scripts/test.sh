#!/usr/bin/env bash
# `make test`: everything that must hold before a change is taken. The last line says whether it does.
set -euo pipefail
cd "$(dirname "$0")/.."

trap 'code=$?; ((code == 0)) || printf "\nFAILED: %s\n" "$current"' EXIT

step() {
    current=$1
    printf '\n==> %s\n' "$current"
}

step "what is needed"
scripts/deps.sh test

step "formatting"
cargo fmt --check

step "the module, release build"
cargo build --release
# The tests load what users load, not the slower debug build beside them.
module=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/libphean.so
export PHEAN_TEST_MODULE=$module

step "hot functions side by side"
scripts/hot.sh "$module"

step "clippy"
cargo clippy --all-targets -- -D warnings

step "documentation"
RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps

# cargo-deny takes some minutes to build: `make deny` does, and looks for new vulnerabilities too, which
# should not fail a change that has nothing to do with them.
if command -v cargo-deny >/dev/null; then
    step "licences and sources of the dependencies"
    cargo deny check bans licenses sources
fi

# Optimized, because the model and simulation tests compute a lot, but with assertions and overflow checks.
step "unit, model, simulation and server tests"
CARGO_PROFILE_TEST_OPT_LEVEL=2 PHEAN_SEEDS=${PHEAN_SEEDS:-8000} cargo test

# The whole of it is `make matrix`.
step "smoke tests on newer servers"
if command -v apt-get >/dev/null; then
    CARGO_PROFILE_TEST_OPT_LEVEL=2 SPARE=1 FILTER=smoke scripts/matrix.sh redis-trixie valkey-trixie
else
    echo "left out: their packages are Debian's"
fi

step "instructions of the main steps"
scripts/instructions.sh

step "README.md and the tour, through redis-cli and redis-py; beanstalkd's clients"
scripts/clients.sh

printf '\nAll checks and tests passed in %d min %d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
