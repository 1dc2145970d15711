#!/usr/bin/env bash
# Checks README.md and runs tests/clients/ against a server with the release build of the module.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/server.sh
source scripts/server.sh

venv=$(realpath -m "${CARGO_TARGET_DIR:-target}")/venv
requirements=tests/clients/requirements.txt
if ! cmp -s "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi

# jackd, for node; its lock file pins it.
node=$(realpath -m "${CARGO_TARGET_DIR:-target}")/node
lock=tests/clients/beanstalk/package-lock.json
if ! cmp -s "$lock" "$node/installed.json"; then
    rm -rf "$node"
    mkdir -p "$node"
    cp tests/clients/beanstalk/package.json "$lock" "$node"
    npm ci --silent --no-audit --no-fund --ignore-scripts --prefix "$node"
    cp "$lock" "$node/installed.json"
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/phean-clients.XXXXXX")
clean_up() {
    code=$?
    stop_server
    if ((code != 0)); then
        echo "--- the server's log" >&2
        cat "$dir/redis.log" >&2 || true
    fi
    rm -rf "$dir"
}
trap clean_up EXIT

start_server "$dir" 7600
# First, as its ids begin at 1.
"$venv/bin/python" tests/clients/readme.py "$port"
tests/clients/tour.sh "$port"
"$venv/bin/python" tests/clients/tour.py "$port"

"$venv/bin/python" tests/clients/cluster.py "$module"
if ldd "$(command -v "${PHEAN_TEST_SERVER:-redis-server}")" | grep -q libssl && command -v openssl >/dev/null; then
    "$venv/bin/python" tests/clients/cluster.py "$module" tls
else
    echo "The cluster by TLS is left out: redis-server was built without, or openssl is missing."
fi

# Clients of beanstalkd know nothing of Redis; they only get another port.
for ((beanstalk = port + 1; beanstalk < 65536; beanstalk++)); do
    is_taken "$beanstalk" && continue
    [[ $(redis-cli -p "$port" CONFIG SET phean.port "$beanstalk") == OK ]] && break
done
"$venv/bin/python" tests/clients/beanstalk/greenstalk_life.py "$beanstalk"
NODE_PATH=$node/node_modules timeout 120 node tests/clients/beanstalk/jackd_life.js "$beanstalk"
timeout 120 php tests/clients/beanstalk/pheanstalk_life.php "$beanstalk"

# A server that crashed and one that refused an event of its own are failures, whatever the clients saw.
kill -0 "$server_pid"
if grep -E 'BUG REPORT|Guru Meditation|panicked at|== CRITICAL ==' "$dir/redis.log"; then
    exit 1
fi
