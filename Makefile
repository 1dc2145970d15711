# phean: a work queue inside redis-server. `make` alone lists what there is.

.DEFAULT_GOAL := help
.PHONY: help deps build run test crash cluster bench bench-quick limit matrix memcheck instructions fmt lint docs deny clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing (Debian, Ubuntu), or say what is
	@scripts/deps.sh test

build: ## build the module, target/release/libphean.so
	@scripts/deps.sh build
	cargo build --release

run: ## start a redis-server with the module, and show a job going through (PORT=…, DIR=…, ONCE=1)
	@scripts/run.sh

test: ## all checks and tests
	@scripts/test.sh

crash: ## kill a server under load 240 times, and look whether it kept its promises: some minutes
	@scripts/deps.sh test
	cargo build --release
	PHEAN_TEST_MODULE=$$(realpath -m "$${CARGO_TARGET_DIR:-target}")/release/libphean.so \
	PHEAN_CRASH_KILLS=60 cargo test --test crash -- --nocapture

cluster: ## move tubes and kill primaries under load, a dozen times in a cluster and under Sentinel: some minutes
	@scripts/deps.sh test
	cargo build --release
	PHEAN_TEST_MODULE=$$(realpath -m "$${CARGO_TARGET_DIR:-target}")/release/libphean.so \
	PHEAN_CLUSTER_ROUNDS=12 cargo test --test cluster -- --nocapture

# A thousand workers wait on tubes and as many on lists, so the soft limit on open files goes up to the hard one.
bench: ## compare with beanstalkd, lists and streams, side by side, and draw docs/*.svg: up to ten minutes
	@scripts/deps.sh run
	cargo build --release
	ulimit -S -n "$$(ulimit -H -n)" && cargo bench --bench compare

bench-quick: ## the same with fewer rounds and jobs, in a minute, without drawing
	@scripts/deps.sh run
	cargo build --release
	ulimit -S -n "$$(ulimit -H -n)" && cargo bench --bench compare -- --quick

limit: ## the same of a module that keeps only bodies, and makes phean's calls of Redis' API: what cannot be beaten
	@scripts/deps.sh run
	cargo build --release --example limit
	ulimit -S -n "$$(ulimit -H -n)" && \
	PHEAN_BENCH_MODULE=$$(realpath -m "$${CARGO_TARGET_DIR:-target}")/release/examples/liblimit.so \
	cargo bench --bench compare -- rates waiting replicated

matrix: ## the server and cluster tests on Redis 8 and Valkey too, unpacked from Debian's packages, not installed
	@scripts/deps.sh run
	@scripts/matrix.sh

memcheck: ## the server tests under valgrind: an hour and more (FILTER=words for some of them)
	@scripts/deps.sh test
	@scripts/memcheck.sh

instructions: ## count the instructions of the main steps again (WRITE=1 writes them down)
	@scripts/deps.sh test
	@scripts/instructions.sh $(if $(WRITE),--write)

fmt: ## format the code
	cargo fmt

lint: ## formatting and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

docs: ## build the code's documentation, warnings are errors
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps

# Building cargo-deny takes about as long as everything else, so `make test` only uses one that is there.
deny: ## check licences, sources and known vulnerabilities (installs cargo-deny: some minutes)
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny check

clean: ## remove everything built
	cargo clean
