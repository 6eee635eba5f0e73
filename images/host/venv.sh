#!/usr/bin/env bash
# Makes .venv hold exactly what requirements.lock pins, with the project itself editable on top.
# Does nothing, in milliseconds, when that is so already.
set -euo pipefail
cd "$(dirname "$0")/../.."

want=$(cat requirements.lock pyproject.toml "images/host/venv.sh" | sha256sum)
stamp=.venv/.stamp
if [[ -x .venv/bin/python && -f $stamp && $(<"$stamp") == "$want" ]]; then
    exit 0
fi

# Debian packs the venv module apart from Python.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if ((EUID != 0)); then
        echo "setup: Python's venv module is missing: run 'apt-get install python3-venv' as root, then again" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: Python 3.11 or newer is needed, python3 is $(python3 -V)" >&2
    exit 1
fi

echo "setup: installing the pinned Python packages into .venv (a minute or two)" >&2
# A moved or half-made environment is not worth mending.
.venv/bin/python -m pip --version >/dev/null 2>&1 || python3 -m venv --clear .venv
cpu="let pip find one (a find-links folder or PyTorch's CPU index in pip's configuration), remove .venv, then again"
pip=(.venv/bin/python -m pip --quiet --quiet --disable-pip-version-check)
# Python compiles what is used when it is first used: pip would compile ten times as much.
if ! "${pip[@]}" install --no-deps --no-compile --require-hashes -r requirements.lock; then
    echo "setup: if it is torch that has another hash: the lock knows PyTorch's builds for the CPU alone; $cpu" >&2
    exit 1
fi
"${pip[@]}" install --no-deps --no-build-isolation --editable .

if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    echo "setup: torch does not import; $cpu" >&2
    exit 1
fi
echo "$want" >"$stamp"
