#!/usr/bin/env bash
# Counts the instructions of the queue's main steps, and compares them with benches/instructions.txt: more than a
# tenth above is a failure, and so is less than half: then something may not be done any more.
# `scripts/instructions.sh --write` writes them down anew.
set -euo pipefail
cd "$(dirname "$0")/.."

expected=benches/instructions.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

program=$(cargo bench --bench instructions --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[[ -x $program ]] || { echo "the program to measure was not built" >&2; exit 1; }

for jobs in 1000 1000000; do
    valgrind --tool=callgrind --callgrind-out-file="$work/out" --toggle-collect='*instructions::counted_*' \
        "$program" "$jobs" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    callgrind_annotate --inclusive=yes --threshold=100 "$work/out" |
        awk -v jobs="$jobs" '
            match($0, /instructions::counted_[a-z]+/) {
                name = substr($0, RSTART + 22, RLENGTH - 22)
                gsub(",", "", $1)
                if (!(name in most) || $1 + 0 > most[name]) most[name] = $1 + 0
            }
            END { for (name in most) printf "%-10s %8d %8.0f\n", name, jobs, most[name] / 1000 }' | sort
done >"$work/counts"

[[ $(wc -l <"$work/counts") == 8 ]] || { echo "not everything was counted:" >&2; cat "$work/counts" >&2; exit 1; }

if [[ ${1:-} == --write ]]; then
    { echo "# step, jobs in the tube, instructions for each; written by scripts/instructions.sh --write"
      cat "$work/counts"; } >"$expected"
    cat "$expected"
    exit
fi

join -j 1 <(awk '!/^#/ { print $1 "@" $2, $3 }' "$expected" | sort) \
    <(awk '{ print $1 "@" $2, $3 }' "$work/counts" | sort) |
    awk '{
        verdict = $3 > $2 * 1.1 ? "GREW" : $3 < $2 / 2 ? "FELL" : "ok"
        grew += verdict != "ok"
        printf "%-18s %6d instructions, expected %6d  %s\n", $1, $3, $2, verdict
    }
    END {
        if (NR != 8) { print "benches/instructions.txt does not fit"; exit 1 }
        if (grew) { print "If that is what it must cost, say so: scripts/instructions.sh --write"; exit 1 }
    }'
