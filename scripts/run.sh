#!/usr/bin/env bash
# `make run`: a redis-server with the module, and a job that goes through it.
#
#   PORT=7000   this port, or none (otherwise 6379, or the next free one)
#   DIR=…       the folder that it keeps its data in (otherwise a temporary one); what is there is kept
#   ONCE=1      end after the demonstration
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/server.sh
source scripts/server.sh

[[ -z ${PORT:-} ]] || check_port "$PORT"
scripts/deps.sh run
cargo build --release

dir=$(mktemp -d "${TMPDIR:-/tmp}/phean.XXXXXX")
tube=
clean_up() {
    # The demonstration was cut short.
    [[ -z $tube ]] || redis-cli -p "$port" DEL "$tube" >/dev/null || true
    stop_server
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'echo; exit 0' INT TERM

if [[ -n ${PORT:-} ]] && is_taken "$PORT"; then
    echo "Port $PORT is taken. Choose another one, or leave PORT out." >&2
    exit 1
fi
settings=()
if [[ -n ${DIR:-} ]]; then
    mkdir -p "$DIR"
    settings=(--dir "$(realpath "$DIR")")
fi

# Told to use an append-only file that is not there, Redis starts empty, whatever dump.rdb holds, and overwrites that
# at its end. So it loads the snapshot first, and writes the file from there.
has_only_a_snapshot() {
    [[ -e $DIR/dump.rdb && ! -e $DIR/appendonly.aof ]] && ! compgen -G "$DIR/appendonlydir/*.manifest" >/dev/null
}
if [[ -n ${DIR:-} ]] && has_only_a_snapshot; then
    start_server "$dir" "${PORT:-6379}" "${settings[@]}" --appendonly no
    echo "$DIR has a snapshot and no append-only file, which is now written from it."
    redis-cli -e -p "$port" CONFIG SET appendonly yes >/dev/null
    while true; do
        persistence=$(redis-cli -e -p "$port" INFO persistence)
        [[ $persistence == *aof_rewrite_in_progress:0*aof_rewrite_scheduled:0* ]] && break
        sleep 0.1
    done
    if [[ $persistence != *aof_last_bgrewrite_status:ok* ]]; then
        echo "It could not be written. The server's log says why:" >&2
        cat "$dir/redis.log" >&2
        exit 1
    fi
else
    start_server "$dir" "${PORT:-6379}" "${settings[@]}"
fi

# Sends a command as a user would, and shows it with its reply; the reply is left in $reply.
show() {
    local shown=$1 word
    for word in "${@:2}"; do
        if [[ $word =~ ^[A-Za-z0-9.:_-]+$ && $word != "$body" ]]; then
            shown+=" $word"
        else
            shown+=" \"$word\""
        fi
    done
    echo "> $shown"
    reply=$(redis-cli -e --no-raw -p "$port" "$@")
    echo "$reply"
}

body=hello
# In a DIR that is kept there may be jobs and pauses, so this is in a tube of its own.
tube=demo:$$
while [[ $(redis-cli -e -p "$port" EXISTS "$tube") != 0 ]]; do
    tube=demo:$$:$RANDOM
done
cat <<TEXT

redis-server with phean is running on port $port. A producer puts a job:

TEXT
show PHEAN.PUT "$tube" "$body"
id=${reply#(integer) }
printf '\nA worker reserves it; the second line is its lease:\n\n'
show PHEAN.RESERVE "$tube"
lease=$(sed -n 's/^2) "\(.*\)"$/\1/p' <<<"$reply")
if [[ $lease != "$id"-* ]]; then
    echo "Job $id should have been reserved." >&2
    exit 1
fi
printf '\nThe work is done, so the worker deletes the job:\n\n'
show PHEAN.DELETE "$tube" "$lease"
if [[ $reply != "(integer) 1" ]]; then
    echo "The job should have been deleted." >&2
    exit 1
fi
redis-cli -e -p "$port" DEL "$tube" >/dev/null
tube=

[[ ${ONCE:-} == 1 ]] && exit 0
cat <<TEXT

Try it yourself from another terminal:

    redis-cli -p $port

The server's log is $dir/redis.log, its data is in ${DIR:-$dir (gone at the end; DIR=… keeps it)}.
Ctrl-C ends the server.
TEXT
wait "$server_pid"
