#!/usr/bin/env bash
# `make matrix`: the server and cluster tests on each server that phean supports, with one and the same module. Besides this
# machine's own redis-server these are Debian's newer packages, taken from the mirror that this machine's apt uses.
# These are not installed: they are unpacked, with the libraries they need, into the folder `matrix` beside the build.
#
# scripts/matrix.sh [NAME…]      only these of the servers listed below
# FILTER=words scripts/matrix.sh only the tests whose names contain these words
# SPARE=1 scripts/matrix.sh      where a package cannot be fetched, its server is left out, and that is said
set -euo pipefail
cd "$(dirname "$0")/.."

# name, release of Debian, package, program
servers="own - - redis-server
redis-trixie trixie redis-server redis-server
redis-sid sid redis-server redis-server
valkey-trixie trixie valkey-server valkey-server
valkey-sid sid valkey-server valkey-server"

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
folder=$target/matrix
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The first mirror of this machine that has Debian itself, not its security updates.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# apt with a list, a cache and a state of its own, which knows of no installed package.
own_apt() {
    local state=$1
    shift
    apt-get -qq -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 \
        -o APT::Install-Recommends=false -o Debug::NoLocking=1 "$@"
}

# unpack RELEASE PACKAGE ROOT
unpack() {
    local release=$1 package=$2 root=$3 state=$folder/apt-$1
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    touch "$state/status"
    local mirror
    mirror=$(mirror)
    [[ $mirror ]] || { echo "This machine's apt knows no mirror of Debian." >&2; return 1; }
    echo "deb [signed-by=$keyring] $mirror $release main" >"$state/sources.list"
    [[ -e $state/is-fresh ]] || own_apt "$state" update
    touch "$state/is-fresh"
    rm -f "$state"/cache/archives/*.deb
    own_apt "$state" --yes --download-only install "$package" >/dev/null
    rm -rf "$root.part"
    mkdir -p "$root.part"
    local deb
    for deb in "$state"/cache/archives/*.deb; do
        dpkg -x "$deb" "$root.part"
    done
    rm -rf "$root"
    mv "$root.part" "$root"
}

# wrap ROOT PROGRAM: a program of the same name that starts the unpacked one with its own libraries, and the
# tools beside it. Prints its path.
wrap() {
    local root=$1 program=$2 tool loader libraries
    loader=$(find "$root" -name 'ld-linux-*.so.*' -print -quit)
    libraries=$(find "$root" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -s -d :)
    mkdir -p "$root/wrapped"
    for tool in "$program" "${program/server/cli}" "${program/server/check-aof}" "${program/server/check-rdb}"; do
        printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
            "$loader" "$libraries" "$root/usr/bin/$tool" >"$root/wrapped/$tool"
        chmod +x "$root/wrapped/$tool"
    done
    echo "$root/wrapped/$program"
}

# sum WORD RESULTS: how many tests ended so, in both programs.
sum() {
    grep -oE "[0-9]+ $1" <<<"$2" | awk '{ sum += $1 } END { print sum + 0 }'
}

# A process of its own, because bash ignores errors within functions that are asked whether they succeed.
if [[ ${1:-} == --unpack ]]; then
    unpack "${@:2}"
    exit
fi

cargo build --release
export PHEAN_TEST_MODULE=$target/release/libphean.so
cargo test --test server --test cluster --no-run
mkdir -p "$folder"

table=$(printf '%-14s %-18s %8s %8s %8s' server version passed failed seconds)
failed=0
while read -r name release package program; do
    [[ $# == 0 || " $* " == *" $name "* ]] || continue
    if [[ $package == - ]]; then
        server=$program
    else
        root=$folder/$name
        if [[ ! -x $root/usr/bin/$program ]] && ! scripts/matrix.sh --unpack "$release" "$package" "$root"; then
            echo "$package of Debian $release cannot be fetched from here." >&2
            [[ ${SPARE:-} ]] || exit 1
            table+=$(printf '\n%-14s %s' "$name" "left out: its package cannot be fetched from here")
            continue
        fi
        server=$(wrap "$root" "$program")
    fi
    version=$("$server" --version | grep -o 'v=[^ ]*' | cut -d = -f 2)
    printf '\n==> %s %s\n' "$name" "$version"
    start=$SECONDS
    PHEAN_TEST_SERVER=$server cargo test --no-fail-fast --test server --test cluster -- ${FILTER:-} \
        >"$folder/$name.log" 2>&1 || true
    result=$(grep -E '^test result:' "$folder/$name.log" || echo "test result: it did not end")
    echo "$result"
    grep -E '^test .* FAILED$' "$folder/$name.log" || true
    [[ $(grep -c '^test result: ok\.' <<<"$result") == 2 ]] || failed=1
    table+=$(printf '\n%-14s %-18s %8s %8s %8s' "$name" "$version" \
        "$(sum passed "$result")" "$(sum failed "$result")" $((SECONDS - start)))
done <<<"$servers"

printf '\n%s\n' "$table"
((failed == 0)) || echo "The tests' output is in $folder." >&2
exit $failed
