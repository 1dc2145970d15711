#!/usr/bin/env bash
# Looks whether the functions that benches/hot.txt names stand side by side in the module that is given: one that was
# renamed, or is part of another by now, is laid beside its like no more, and only the latency of wake-ups would tell.
set -euo pipefail
cd "$(dirname "$0")/.."

module=${1:-$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/libphean.so}
if [[ -n ${PHEAN_ANY_LINKER:-} ]]; then
    echo "left out: PHEAN_ANY_LINKER is set"
    exit
fi

nm --defined-only --numeric-sort "$module" | awk '
    FNR == NR {
        if (/^[^#]*::/) { split($0, part, "::"); pattern[$0] = part[1] ".*" length(part[2]) part[2]; total++ }
        next
    }
    $2 ~ /[tTwW]/ {
        rank++
        for (name in pattern) if ($3 ~ pattern[name]) { found[name] = last = rank; if (!first) first = rank }
    }
    END {
        for (name in pattern) if (!(name in found)) { missing++; gone = gone " " name }
        span = last - first + 1
        printf "%d of the %d functions in benches/hot.txt stand among %d\n", total - missing, total, span
        if (missing) print "renamed, or part of others:" gone
        # Another version of the compiler may inline some of them, and make several of one.
        if (missing * 10 > total) { print "bring benches/hot.txt up to date"; exit 1 }
        if (span > 2 * total) { print "the linker did not lay them side by side: see build.rs"; exit 1 }
    }' benches/hot.txt -
