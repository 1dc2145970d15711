#!/usr/bin/env bash
# The tour through redis-cli: every PHEAN command, the way a user would type it, and what it must answer.
#
#   tests/clients/tour.sh [PORT]     (or PORT=… in the environment; 6379)
#
# It makes tubes of its own, tour:sh:…, and removes them at the end.
set -euo pipefail

port=${1:-${PORT:-6379}}
prefix=tour:sh:$$
emails=$prefix:emails
images=$prefix:images
checks=0

cli() {
    redis-cli --no-raw -p "$port" "$@"
}

clean_up() {
    cli DEL "$emails" "$images" >/dev/null || true
}
trap clean_up EXIT
# A [[ … ]] that does not hold ends the tour; this says which.
reply=
set -E
trap 'printf "%s, line %s: %s does not hold for\n%s\n" "$0" "$LINENO" "$BASH_COMMAND" "$reply" >&2' ERR

# says PATTERN COMMAND…: the reply, as redis-cli shows it, must match the glob pattern. It is left in $reply.
says() {
    local want=$1
    shift
    reply=$(cli "$@")
    # shellcheck disable=SC2053 # a pattern is meant
    if [[ $reply != $want ]]; then
        printf '> %s\n%s\nshould have been:\n%s\n(%s, line %s)\n' \
            "$*" "$reply" "$want" "$0" "${BASH_LINENO[0]}" >&2
        exit 1
    fi
    checks=$((checks + 1))
}

# put COMMAND…: a put, whose id is left in $id.
put() {
    says '(integer) *' PHEAN.PUT "$@"
    id=${reply#(integer) }
}

# reserve COMMAND…: a reserve that finds a job, whose lease is left in $lease.
reserve() {
    says '1) "*2) "*3) "*4) (integer) *5) "*' "$@"
    lease=$(sed -n 's/^2) "\([0-9]*-[0-9]*\)"$/\1/p' <<<"$reply")
}

# field NAME: the value of a name in the flat map that is $reply.
field() {
    awk -v name="\"$1\"" '{ sub(/^ *[0-9]+\) /, "") } found { gsub(/^\(integer\) |"/, ""); print; exit }
        $0 == name { found = 1 }' <<<"$reply"
}

# has NAME VALUE: $reply is a map, in which the name has this value.
has() {
    if [[ $(field "$1") != "$2" ]]; then
        printf '%s should be %s (%s, line %s):\n%s\n' "$1" "$2" "$0" "${BASH_LINENO[0]}" "$reply" >&2
        exit 1
    fi
    checks=$((checks + 1))
}

# A tube that nobody has used is empty.
says '(nil)' PHEAN.RESERVE "$emails"
says '(nil)' PHEAN.PEEK "$emails" READY
says '(nil)' PHEAN.JOB "$emails" 1
says '(empty array)' PHEAN.CLAIMED "$emails"
says '*' PHEAN.STATS "$emails"
has current-jobs-ready 0
has total-jobs 0

# A job goes through.
put "$emails" hello
says 'pheantube' TYPE "$emails"
reserve PHEAN.RESERVE "$emails"
[[ $reply == *"1) \"$emails\""*"3) \"hello\""*'4) (integer) 1'*'5) "60"' ]]
says '(nil)' PHEAN.RESERVE "$emails"
says '(integer) 1' PHEAN.DELETE "$emails" "$lease"
says '(integer) 0' PHEAN.DELETE "$emails" "$lease"

# The smallest PRI goes first, then the oldest.
put "$emails" second
put "$emails" third
put "$emails" first PRI 1
says '1) (integer) *2) "first"' PHEAN.PEEK "$emails" READY
for body in first second third; do
    reserve PHEAN.RESERVE "$emails"
    [[ $reply == *"\"$body\""* ]]
    says '(integer) 1' PHEAN.DELETE "$emails" "$lease"
done

# A delayed job waits, and a reserve waits for it.
put "$emails" later DELAY 2
says '(nil)' PHEAN.RESERVE "$emails"
says "1) (integer) $id"$'\n''2) "later"' PHEAN.PEEK "$emails" DELAYED
reserve PHEAN.RESERVE "$emails" TIMEOUT 10
[[ $lease == "$id"-* ]]

# Touch, release, attempts.
says '(integer) 1' PHEAN.TOUCH "$emails" "$lease"
says '(integer) 1' PHEAN.TOUCH "$emails" "$lease" FOR 30
says '(integer) 1' PHEAN.RELEASE "$emails" "$lease"
says '(integer) 0' PHEAN.TOUCH "$emails" "$lease"
reserve PHEAN.RESERVE "$emails"
[[ $reply == *'4) (integer) 2'* ]]
says '(integer) 1' PHEAN.RELEASE "$emails" "$lease" UNTRIED
reserve PHEAN.RESERVE "$emails"
[[ $reply == *'4) (integer) 2'* ]]

# A worker that was too slow loses its job, and cannot delete it any more.
says '(integer) 1' PHEAN.DELETE "$emails" "$lease"
put "$emails" slow TTR 2
reserve PHEAN.RESERVE "$emails"
old=$lease
reserve PHEAN.RESERVE "$emails" TIMEOUT 10 TTR 60
# Whoever waited is told a moment after its time has begun.
[[ $reply == *"\"slow\""*'4) (integer) 2'*'5) "'@(60|59.9*)'"' ]]
says '(integer) 0' PHEAN.DELETE "$emails" "$old"
says '(integer) 0' PHEAN.RELEASE "$emails" "$old"
says '(integer) 0' PHEAN.BURY "$emails" "$old"

# Bury and kick.
says '(integer) 1' PHEAN.BURY "$emails" "$lease" PRI 5
says "1) (integer) $id"$'\n''2) "slow"' PHEAN.PEEK "$emails" BURIED
says '(integer) 1' PHEAN.KICK "$emails" 10
says '(integer) 0' PHEAN.KICK "$emails" 10
reserve PHEAN.RESERVEJOB "$emails" "$id" TTR 60
[[ $reply == *'4) (integer) 1'* ]]
says '(nil)' PHEAN.RESERVEJOB "$emails" "$id"
says '(integer) 1' PHEAN.BURY "$emails" "$id"
says '(integer) 1' PHEAN.KICKJOB "$emails" "$id" "$lease"

# Operators look, and change their minds.
says '*' PHEAN.JOB "$emails" "$id"
has state ready
has id "$id"
has pri 5
has size 4
has timeouts 1
has buries 2
says '(integer) 1' PHEAN.PRIORITIZE "$emails" "$id" 7
says '(integer) 0' PHEAN.PRIORITIZE "$emails" 999999999 7
says '1) "0"*"ready"* (integer) 7' PHEAN.SCAN "$emails" 0
says '1) "0"* (empty array)' PHEAN.SCAN "$emails" 0 STATE buried COUNT 100
says '(integer) 1' PHEAN.DELAY "$emails" "$id" 60
says '*' PHEAN.JOB "$emails" "$id"
has state delayed
says '(integer) 1' PHEAN.KICK "$emails" 1
says 'OK' PHEAN.PAUSE "$emails" 60
says '(nil)' PHEAN.RESERVE "$emails"
says 'OK' PHEAN.PAUSE "$emails" 0
reserve PHEAN.RESERVE "$emails"
says "1) 1) \"$lease\"*2) \"*3) \"*4) (integer) *" PHEAN.CLAIMED "$emails"
says "1) 1) \"$lease\"*" PHEAN.CLAIMED "$emails" COUNT 1 OLDEST
says '*' PHEAN.JOB "$emails" "$lease"
has state reserved

# Several at once, and several tubes.
says '1) (integer) *2) (integer) *3) (integer) *' PHEAN.MPUT "$images" 3 a b c PRI 10
says '1) 1) "*"a"*2) 1) "*"b"*' PHEAN.RESERVE "$images" COUNT 2
put "$emails" urgent PRI 0
reserve PHEAN.MRESERVE 2 "$images" "$emails"
[[ $reply == *'"urgent"'* ]]
says '(integer) 1' PHEAN.DELETE "$emails" "$lease"
says "1) \"$emails\""$'\n'"2) \"$images\"" PHEAN.TUBES MATCH "$prefix:*"
says "1) 1) \"$images\"*2) (integer) 1*3) (integer) 0*4) (integer) 2*5) (integer) 0*6) (integer) 0*" \
    PHEAN.TUBES MATCH "$prefix:*" FROM "$images" COUNT 1 WITHSTATS

# Counters.
says '*' PHEAN.STATS "$images"
has current-jobs-ready 1
has current-jobs-reserved 2
has current-jobs-delayed 0
has current-jobs-buried 0
has total-jobs 3
says '*' PHEAN.STATS
has draining false
[[ $(field current-tubes) -ge 2 ]]
says '*phean_*' INFO phean

# Clearing leaves what workers hold, unless told otherwise.
says '(integer) 1' PHEAN.CLEAR "$images"
says '(integer) 2' PHEAN.CLEAR "$images" RESERVED

# A mistake changes nothing, and says what is wrong.
says "(error) ERR wrong number of arguments for 'phean.put' command" PHEAN.PUT "$images"
says "(error) ERR syntax error, unexpected 'SOON'" PHEAN.PUT "$images" body SOON
says '(error) ERR PRI must be an integer from 0 to 4294967295' PHEAN.PUT "$images" body PRI -1
says "(error) ERR invalid job id 'x'" PHEAN.DELETE "$images" x
says 'OK' SET "$images" text
says '(error) WRONGTYPE *' PHEAN.PUT "$images" body

# redis-cli's help knows the commands.
says '*"summary"*' COMMAND DOCS phean.put

echo "The tour through redis-cli: $checks replies were right."
