#!/usr/bin/env bash
# Looks whether benches/hot.txt still names functions of the module that is given: a function that was renamed, or is
# part of another by now, is laid beside its like no more, and nothing but the wake-up's latency would tell.
set -euo pipefail
cd "$(dirname "$0")/.."

module=${1:-$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/libphean.so}
names=$(nm --defined-only "$module" | awk '$2 ~ /[tTwW]/ { print $3 }')
gone=$(awk -F :: '/^[^#]*::/ { print $1, $2, length($2) $2 }' benches/hot.txt | while read -r of function mangled; do
    grep -q -- "$of.*$mangled" <<<"$names" || echo "$of::$function"
done)
total=$(grep -c '^[^#]*::' benches/hot.txt)
missing=$(grep -c . <<<"$gone" || true)
printf '%d of the %d functions in benches/hot.txt stand side by side\n' $((total - missing)) "$total"
[[ -z $gone ]] || printf 'not found, inlined or renamed:\n%s\n' "$gone"
# Another version of the compiler may inline some of them.
((missing * 10 <= total)) || { echo "too many are missing: bring benches/hot.txt up to date" >&2; exit 1; }
