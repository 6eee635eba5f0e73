#!/usr/bin/env bash
# guest.sh JOB RESULTS: what happens inside the VM. `test` runs the tests that need this kernel, with Docker (`suite`);
# `bench` measures its links; `probe` shows that the VM works at all.
set -euo pipefail
job=$1 results=$2

# What is the same for every backend, or measures only time: make test has it.
elsewhere=' tuned_is_as_set 32_flows server_goes_on idle_shaper speaks_json'

emulated() { grep -q 'model name.*QEMU' /proc/cpuinfo; }

tests() {
    export TESTBED_BACKEND=netem TESTBED_RESULTS=$results
    if emulated; then export TESTBED_CARRIES=0.2; fi # such a processor forwards some 20 Mbit/s of small packets
    images/host/with-docker.sh "$0" suite "$results"
}

suite() {
    .venv/bin/testbed images build
    .venv/bin/python -m pytest -p no:hypothesispytest -p no:cacheprovider -v -s --durations=8 \
        --junitxml="$results/junit.xml" -k "not htb${elsewhere// / and not }" \
        tests/vm tests/contract/test_links.py tests/contract/test_tuning.py tests/unit/test_vagrantfile.py
}

case $job in
    bench) .venv/bin/python -m tests.bench qdiscs ;;
    probe) uname -r ;;
    suite) suite ;;
    test) tests ;;
    *) echo "guest: no job $job" >&2 && exit 2 ;;
esac
