# Sourced, not run: starts and stops a redis-server with the module.
# shellcheck shell=bash

module=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/libphean.so
server_pid=

is_taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# check_port PORT: says what is wrong with it, if it is no port. Its digits are looked at before bash counts with
# them: 0078 would be octal, and a word the name of a variable.
check_port() {
    if [[ ! $1 =~ ^[1-9][0-9]{0,4}$ ]] || (($1 > 65535)); then
        echo "PORT must be a number from 1 to 65535, without zeros before it, not '$1'." >&2
        return 1
    fi
}

# write_settings: redis.conf.example with the module that was built. Its path may have any character, so that it is
# not put into a pattern, and what means something within the quotes of redis.conf is escaped.
write_settings() {
    local path=${module//\\/\\\\}
    printf 'loadmodule "%s"\n' "${path//\"/\\\"}"
    grep -v '^loadmodule ' redis.conf.example
}

# start_server DIR FIRST_PORT [SETTING…]: a server with redis.conf.example's settings, working in DIR, on
# FIRST_PORT or the first free one after it. Sets server_pid and port.
start_server() {
    local dir=$1
    port=$2
    shift 2
    check_port "$port" || return 1
    write_settings >"$dir/redis.conf"
    for (( ; port < 65536; port++)); do
        is_taken "$port" && continue
        "${PHEAN_TEST_SERVER:-redis-server}" "$dir/redis.conf" --bind 127.0.0.1 --port "$port" --dir "$dir" \
            --logfile "$dir/redis.log" --daemonize no "$@" &
        server_pid=$!
        await_server "$dir" && return 0
        wait "$server_pid" || true
        server_pid=
        # Somebody else took the port in between: try the next one.
        grep -qs 'Address already in use' "$dir/redis.log" || break
        rm "$dir/redis.log"
    done
    echo "redis-server did not start:" >&2
    cat "$dir/redis.log" >&2 || true
    return 1
}

# Waits until the server says that it is ready; fails as soon as it has ended.
await_server() {
    local polls
    for ((polls = 0; polls < 1200; polls++)); do
        kill -0 "$server_pid" 2>/dev/null || return 1
        if grep -qs 'Ready to accept connections' "$1/redis.log"; then
            return 0
        fi
        sleep 0.05
    done
    stop_server
    return 1
}

# Ends the server that start_server started, and waits for it.
stop_server() {
    [[ -n $server_pid ]] || return 0
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}
