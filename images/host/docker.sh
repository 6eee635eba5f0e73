#!/usr/bin/env bash
# Ensures that a Docker engine answers. When one does, nothing is installed, started or changed.
# When this call had to start it, prints the command that stops it again; all else goes to stderr.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "docker: $1" >&2
    exit 1
}

# Asks what the testbed will ask, so that DOCKER_HOST, ssh:// and TLS count in the same way.
ping() {
    .venv/bin/python -c 'import docker; docker.from_env(timeout=5).ping()' 2>"$errors"
}

install_missing() {
    local package missing=()
    for package in dockerd:docker.io iptables:iptables debootstrap:debootstrap ip:iproute2; do
        command -v "${package%:*}" >/dev/null || missing+=("${package#*:}")
    done
    ((${#missing[@]})) || return 0
    echo "docker: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# Sets $stop to what ends the engine that this call starts.
start() {
    if [[ -d /run/systemd/system ]]; then
        systemctl start docker
        stop="systemctl stop docker.service docker.socket"
    else
        setsid dockerd >"$log" 2>&1 </dev/null &
        stop="kill $!"
    fi
}

images/host/venv.sh
errors=$(mktemp)
stop=""
up=""
trap 'rm -f "$errors"; [[ -n $up ]] || $stop' EXIT # interrupted half-way: what was started goes again
log=/var/log/testbed-dockerd.log

ping && exit 0
[[ -z ${DOCKER_HOST:-} ]] || fail "DOCKER_HOST=$DOCKER_HOST does not answer: $(tail -n 1 "$errors")"
! grep -q 'PermissionError' "$errors" ||
    fail "the engine runs, but $(id -un) may not use it: run 'usermod -aG docker $(id -un)' as root and log in again"
((EUID == 0)) || fail "no engine answers: run 'images/host/docker.sh' as root once, then again"

install_missing >/dev/null
ping && exit 0 # Debian's package starts it where systemd runs
start
for ((i = 0; i < 120; i++)); do
    if ping; then
        up=yes
        echo "$stop"
        exit 0
    fi
    sleep 0.5
done
fail "the engine did not come up in a minute: $(tail -n 1 "$log" 2>/dev/null || echo "see 'systemctl status docker'")"
