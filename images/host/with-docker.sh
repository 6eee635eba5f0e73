#!/usr/bin/env bash
# with-docker.sh CMD…: runs CMD with a Docker engine, and leaves the machine as it was: an engine that had to be
# started for CMD is stopped afterwards, whether CMD succeeds, fails or is interrupted. Exits as CMD does.
set -euo pipefail
here=$(dirname "$0")

stop=$("$here/docker.sh")
read -r verb pid <<<"$stop"

# shellcheck disable=SC2317 # reached by the trap
cleanup() {
    [[ -n $stop ]] || return 0
    $stop || return 0
    [[ $verb == kill ]] || return 0
    local state
    for ((i = 0; i < 60; i++)); do
        # A daemon that nobody reaps stays as a zombie: that counts as gone.
        read -r _ _ state _ 2>/dev/null <"/proc/$pid/stat" || return 0
        [[ $state != Z ]] || return 0
        sleep 0.5
    done
    echo "with-docker: dockerd ($pid) does not end" >&2
}
trap cleanup EXIT

# CMD gets a process group of its own: an interrupt reaches it once, from here, whether it came from a terminal or
# from kill, and the engine goes only after CMD has cleaned up.
set -m
"$@" &
child=$!
trap 'kill -INT -- "-$child"' INT
trap 'kill -TERM -- "-$child"' TERM HUP
while kill -0 "$child" 2>/dev/null; do
    wait "$child" || true
done
status=0
wait "$child" || status=$?
exit "$status"
