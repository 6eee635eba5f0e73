"""The BS on a real GPU, UEs on the CPU, over loopback: same losses, honest times, and the dilation that follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import calibrate
from agents.evaluation import Part
from agents.schedule.task import Compute
from controller.planners.planning import plan_all
from controller.trial.fit import fit
from testbed.compute import Calibration
from testbed.compute import fit as lines
from testbed.data import info
from testbed.loading import load
from testbed.topology import Topology
from tests.gpu.__main__ import why_not
from tests.unit.loopback import World, job, samples, world

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a GPU")

GPU = "cuda"
BATCHES = (32, 16, 48)
ROUNDS = 4
COPY_S = 0.002
"""Wall seconds by which a transfer over loopback may differ between two runs."""
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("psl", 1, {}),
    ("sl", 1, {}),
    ("sfl", 1, {}),
    ("c2p2sl", 4, {}),
    ("ushape", 2, {"head_cut": 4}),
    *(("epsl", 1, {"phi": 0.5, "aggregate": way}) for way in ("virtual", "own", "cut")),
]
TABLE_1 = Path("topologies/papers/c2p2sl-table1.yaml")


def run(asked: Any, device: str, look: Callable[[World], Any], watch: Callable[[World], None] = lambda _: None) -> Any:
    """What ``look`` sees after each round of a BS on this device; ``watch`` gets the agents before the first."""
    with world({f"ue{i + 1}": samples(100, i) for i in range(len(BATCHES))}, device=device) as agents:
        agents.configure(asked)
        watch(agents)
        found = []
        for number in range(1, ROUNDS + 1):
            agents.round(number)
            found.append(look(agents))
        return found


def losses(agents: World) -> list[float]:
    """Mean loss of each agent that ends passes in it, and the accuracy of each UE's model."""
    meters = [agent.meter for agent in (agents.bs, *agents.ues.values())]
    parts = {name: [Part(*part) for part in ue.parts()] for name, ue in agents.ues.items()}
    found, _ = agents.bs.evaluate(parts, averaged=False)
    return [meter.loss_sum / meter.loss_samples for meter in meters if meter.loss_samples] + list(found.values())


@pytest.mark.parametrize(("scheme", "k", "plan"), CASES, ids=str)
def test_losses_are_those_of_the_cpu(scheme: str, k: int, plan: dict[str, Any]) -> None:
    asked = job(scheme, 2, k, BATCHES, plan)
    on_cpu, on_gpu = (run(asked, device, losses) for device in ("cpu", GPU))
    for number, (cpu, gpu) in enumerate(zip(on_cpu, on_gpu, strict=True), start=1):
        assert gpu[: -len(BATCHES)] == pytest.approx(cpu[: -len(BATCHES)], abs=1e-4), f"round {number}"
        assert gpu[-len(BATCHES) :] == pytest.approx(cpu[-len(BATCHES) :], abs=0.04), "two of 50 images may tip over"


def test_a_task_lasts_as_long_as_the_device_works_for_it() -> None:
    """What CUDA's own events say of the passes is inside the spans that are reported, copies and all."""
    device_s: list[float] = []

    def watch(agents: World) -> None:
        trainer = agents.bs.trainer
        for name in ("forward", "backward"):
            setattr(trainer, name, _timed(getattr(trainer, name), device_s))

    def spans(agents: World) -> float:
        bs = [e for e in agents.events if e["place"] == "bs"]
        assert all(e["end_ns"] > e["start_ns"] for e in bs)
        return sum(e["end_ns"] - e["start_ns"] for e in bs) / 1e9

    busy_s = run(job("c2p2sl", 2, 4, BATCHES), GPU, spans, watch)
    per_round = len(device_s) // ROUNDS
    assert per_round == 8
    for i, spent_s in enumerate(busy_s):
        assert spent_s >= sum(device_s[i * per_round : (i + 1) * per_round]) > 0


def _timed(work: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    def timed(*args: Any) -> Any:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        found = work(*args)
        end.record()
        end.synchronize()
        into.append(begin.elapsed_time(end) / 1e3)
        return found

    return timed


def test_no_transfer_is_counted_as_compute_nor_the_other_way_round() -> None:
    """Gradients leave when the pass is over, passes begin when activations are there.

    And at its fastest a link is as fast as it is beside a BS on the CPU.
    """

    def rows(agents: World) -> list[dict[str, Any]]:
        return list(agents.events)

    on_cpu, on_gpu = (run(job("c2p2sl", 2, 4, BATCHES), device, rows)[1:] for device in ("cpu", GPU))
    for events in on_gpu:
        at = {(e["task"], e["micro_batch"], e["ue"]): e for e in events}
        for (task, m, _), row in at.items():
            if task == "uplink":
                assert row["end_ns"] <= at["bs_forward", m, "bs"]["start_ns"]
            elif task == "downlink":
                assert row["start_ns"] >= at["bs_backward", m, "bs"]["end_ns"]
    for kind in ("uplink", "downlink"):
        cpu_s, gpu_s = (
            min((e["end_ns"] - e["start_ns"]) / 1e9 for events in runs for e in events if e["task"] == kind)
            for runs in (on_cpu, on_gpu)
        )
        assert gpu_s == pytest.approx(cpu_s, abs=COPY_S)


def test_what_the_bs_makes_is_on_the_gpu_and_what_it_sends_is_not() -> None:
    asked = job("psl", 2, 1, BATCHES)

    def look(agents: World) -> None:
        half = agents.half("bs")
        assert {value.device.type for value in half.model.state_dict().values()} == {GPU}
        assert {value.device.type for value in half.weights()} == {"cpu"}

    run(asked, GPU, look)


def grouped(topology: Topology, rows: list[calibrate.Row]) -> Calibration:
    """The calibration that measured rows give for the topology's units."""
    found = lines(rows)
    return found.grouped(topology.units, topology.group_sizes) if topology.group_sizes else found


def test_the_dilation_of_the_papers_scene_with_and_without_the_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    topology = load(TABLE_1)
    model = topology.model.name, topology.model.norm, info(topology.data)
    cores = torch.multiprocessing.cpu_count()
    alone = grouped(topology, calibrate.measure_together(*model, calibrate.PROCESSES_PER_CORE))
    with_gpu = replace(alone, bs_units=grouped(topology, calibrate.measure(*model, GPU)).units)
    first = plan_all(topology)
    found = {
        name: fit(topology, first, lambda _, one=calibration: one, cores).dilation
        for name, calibration in (("CPU", alone), ("GPU", with_gpu))
    }
    last = max(task.work.last for one in first for task in one.schedule(1).tasks if isinstance(task.work, Compute))
    with capsys.disabled():
        for name, calibration in (("CPU", alone), ("GPU", with_gpu)):
            host_s = calibration.forward_s(1, last, 32, bs=True) + calibration.backward_s(1, last, 32, bs=True)
            print(f"\n{name}: D = {found[name].value:g} ({found[name].limited_by}), {host_s:.4f} s for 32 samples")
    assert found["GPU"].value <= found["CPU"].value
