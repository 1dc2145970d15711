#!/usr/bin/env bash
# `make memcheck`: the server tests, each server under valgrind's memcheck: reads and writes outside of what was
# allocated, or of what was freed, values that nobody set, and memory that is lost. It takes an hour and more.
#
# FILTER=words scripts/memcheck.sh only the tests whose names contain these words
#
# valgrind can only watch a malloc that it replaces: that of libc, or of a shared libjemalloc, as Debian's redis-server
# has it. A server with jemalloc built in would hide the module's memory; build one with MALLOC=libc, and name it by
# PHEAN_TEST_SERVER.
set -euo pipefail
cd "$(dirname "$0")/.."

server=$(command -v "${PHEAN_TEST_SERVER:-redis-server}")
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
if [[ $(ldd "$server") != *jemalloc* && $("$server" --version) != *malloc=libc* ]]; then
    echo "$server has an allocator built in that valgrind cannot replace." >&2
    exit 1
fi

logs=$target/memcheck
rm -rf "$logs"
mkdir -p "$logs"
# Not optimized: the optimizer looks at values that may not be there before it asks whether they are, which does no
# harm but is what memcheck complains of.
cargo build
export PHEAN_TEST_MODULE=$target/debug/libphean.so
export PHEAN_HOSTILE=${PHEAN_HOSTILE:-200} PHEAN_LIVES=${PHEAN_LIVES:-1000} PHEAN_CROWD=${PHEAN_CROWD:-100}
# The path of the logs must hold no blank, as the loader's words are told apart by them.
export PHEAN_TEST_SERVER_LOADER="valgrind --quiet --soname-synonyms=somalloc=*jemalloc* --num-callers=30
    --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
    --suppressions=$PWD/scripts/memcheck.supp --log-file=$logs/%p.log"
code=0
# Left out is a test that crashes a server on purpose: its report of the crash tests all of the memory.
cargo test --test server -- --test-threads="${THREADS:-2}" --skip a_crash_fails_the_test ${FILTER:-} || code=$?

# Servers that are killed on purpose, and the children that save, leave a log too; what counts is what is in it.
found=$(find "$logs" -name '*.log' -size +0)
if [[ $found ]]; then
    # shellcheck disable=SC2086 # the names hold no blanks
    cat $found
    echo "memcheck has something to say about $(wc -l <<<"$found") of the servers: see above." >&2
    exit 1
fi
echo "memcheck has nothing to say about $(find "$logs" -name '*.log' | wc -l) servers and their children."
exit $code
