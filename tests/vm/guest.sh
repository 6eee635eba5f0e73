#!/usr/bin/env bash
# guest.sh JOB RESULTS: what happens inside the VM. `test` brings the code layers of the images up to date and runs
# the tests that need this kernel; `bench` measures its links; `probe` shows that the VM works at all.
set -euo pipefail
job=$1 results=$2

tests() {
    export TESTBED_BACKEND=netem TESTBED_RESULTS=$results
    # An emulated processor forwards some 20 Mbit/s of small packets.
    grep -q 'model name.*QEMU' /proc/cpuinfo && export TESTBED_CARRIES=0.2
    images/host/with-docker.sh sh -c ".venv/bin/testbed images build &&
        exec .venv/bin/python -m pytest -p no:cacheprovider -p no:hypothesispytest -v -s --durations=8 \
            --junitxml=$results/junit.xml -k 'not htb and not tuned_is_as_set' \
            tests/vm tests/contract/test_links.py tests/contract/test_tuning.py"
}

case $job in
    bench) .venv/bin/python -m tests.bench qdiscs ;;
    probe) uname -r ;;
    test) tests ;;
    *) echo "guest: no job $job" >&2 && exit 2 ;;
esac
