#!/usr/bin/env bash
# Ensures that there is a Chromium for the tests of the report. Where it cannot be had, those are skipped.
set -euo pipefail

! command -v chromium >/dev/null || exit 0
if ((EUID != 0)); then
    echo "chromium: not there: run 'apt-get install chromium' as root for the tests of the report" >&2
    exit 0
fi
echo "chromium: installing it for the tests of the report" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null
