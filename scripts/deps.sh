#!/usr/bin/env bash
# Installs what is missing for `deps.sh build|run|test`, and is silent if nothing is.
set -euo pipefail

goal=${1:-test}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

if ! command -v cargo >/dev/null; then
    fail "Rust is missing. Install it (https://rustup.rs), then try again."
fi

# bindgen needs libclang and its headers; a library alone, without the -dev package, is not enough.
has_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] && return 0
    if command -v dpkg-query >/dev/null; then
        # The output is taken whole: a grep that stops early would break the pipe under pipefail.
        local installed
        # shellcheck disable=SC2016 # the braces are dpkg-query's own
        installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 'libclang-*dev' 2>/dev/null || true)
        [[ $installed =~ (^|$'\n')installed\ libclang-([0-9]+-)?dev($'\n'|$) ]]
    else
        compgen -G '/usr/lib*/libclang.so*' >/dev/null ||
            compgen -G '/usr/lib*/*/libclang.so*' >/dev/null ||
            compgen -G '/usr/lib*/llvm*/lib*/libclang.so*' >/dev/null
    fi
}

missing=()
command -v cc >/dev/null || missing+=(build-essential)
has_libclang || missing+=(libclang-dev)
if [[ $goal != build ]]; then
    command -v "${PHEAN_TEST_SERVER:-redis-server}" >/dev/null || missing+=(redis-server)
    command -v redis-cli >/dev/null || missing+=(redis-tools)
fi
if [[ $goal == test ]]; then
    "${PYTHON:-python3}" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    command -v valgrind >/dev/null || missing+=(valgrind)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v php >/dev/null || missing+=(php-cli)
    [[ -e /usr/share/php/Pheanstalk/autoload.php ]] || missing+=(php-pda-pheanstalk)
    command -v "${PHEAN_TEST_BEANSTALKD:-beanstalkd}" >/dev/null || missing+=(beanstalkd)
fi

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        fail "Missing, by the names that Debian gives them: ${missing[*]}" \
            "This script installs them with apt-get only. Please install them, then try again."
    fi
    as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            fail "Missing: ${missing[*]}. As root, run: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    echo "Installing ${missing[*]} …"
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends "${missing[@]}")
    # The package lists may be missing or old; only then are they fetched.
    if ! "${install[@]}" >/dev/null 2>&1; then
        "${as_root[@]}" apt-get update -qq
        "${install[@]}" >/dev/null
    fi
    # Debian's packages of servers start them, now and at each boot, where systemd runs.
    services=()
    for package in redis-server beanstalkd; do
        [[ " ${missing[*]} " != *" $package "* ]] || services+=("$package")
    done
    if ((${#services[@]})) && [[ -d /run/systemd/system ]]; then
        echo "These run as services from now on, on their usual ports; to end that, as root:"
        echo "    systemctl disable --now ${services[*]}"
    fi
fi

if [[ $goal != build ]]; then
    version=$("${PHEAN_TEST_SERVER:-redis-server}" --version)
    [[ $version =~ v=([0-9]+)\. ]] || fail "This is no redis-server: $version"
    ((BASH_REMATCH[1] >= 7)) || fail "Redis 7.0 or later is needed. This is: $version"
fi

if [[ $goal == test ]]; then
    for component in fmt:rustfmt clippy:clippy; do
        if ! cargo "${component%:*}" --version >/dev/null 2>&1; then
            command -v rustup >/dev/null || fail "Rust's component ${component#*:} is missing."
            rustup component add "${component#*:}"
        fi
    done
fi
