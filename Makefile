# Every target does its own set-up, and needs root only for what is not there yet.
.PHONY: setup images trial monitor test test-unit vm-root test-vm test-gpu bench-vm lint audit format bench bench-papers chaos clean

bin := .venv/bin
with_docker := images/host/with-docker.sh

setup:  ## a Python environment and a Docker engine, the engine left running
	images/host/venv.sh
	@images/host/docker.sh >/dev/null

images: .venv
	$(with_docker) $(bin)/testbed images build

trial: .venv  ## a first emulated field trial; results and report under runs/
	$(with_docker) sh -c '$(bin)/testbed images build && \
	    exec $(bin)/testbed run topologies/quickstart.yaml --out runs/quickstart-$(shell date +%Y%m%d-%H%M%S)'

monitor: .venv  ## Prometheus, and Grafana where its image can be had, for whatever trials run; the engine stays up
	@images/host/docker.sh >/dev/null
	$(bin)/testbed monitor up

test: lint
	@images/host/chromium.sh
	$(with_docker) sh -c '$(bin)/testbed images build && make --jobs 2 test-unit vm-root && \
	    $(bin)/pytest tests/contract tests/trial tests/report && exec $(bin)/python -m tests.vm'

test-unit: .venv  ## the unit tests alone, on all cores
	$(bin)/pytest --numprocesses auto tests/unit

vm-root: .venv  ## only the disk that the VM boots from
	$(with_docker) $(bin)/python -m tests.vm root

test-vm: .venv  ## what needs a kernel with netem, in a VM that is made for it once (root; docs/vm.md)
	$(with_docker) sh -c '$(bin)/testbed images build && exec $(bin)/python -m tests.vm'

test-gpu: .venv  ## the BS on a GPU of this machine, without containers; says why it is skipped where there is none
	$(bin)/python -m tests.gpu

bench-vm: .venv  ## links by netem, in the same VM
	$(with_docker) sh -c '$(bin)/testbed images build && exec $(bin)/python -m tests.vm bench'

lint: .venv
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

audit: .venv  ## known vulnerabilities of what is locked; takes a network that reaches a service which knows them
	$(bin)/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock

format: .venv
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

bench: .venv
	$(with_docker) sh -c '$(bin)/testbed images build && exec $(bin)/python -m tests.bench'

bench-papers: .venv  ## the papers' own scenes: hours, with nothing else running
	$(with_docker) sh -c '$(bin)/testbed images build && exec $(bin)/python -m tests.bench papers'

chaos: .venv  ## a hundred faults of all kinds in half an hour, then the check that all is accounted for
	$(with_docker) sh -c '$(bin)/testbed images build && exec $(bin)/python -m tests.bench chaos'

clean:  ## what was built here; images and runs stay
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: .venv
.venv:
	@images/host/venv.sh
