"""Workloads and devices as the papers of CPSL and PiPar print them, for benchmarks and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agents.schemes import SCHEMES
from controller.planners.cpsl.latency import Phases, phases
from controller.planners.seam import Request
from controller.predict.instance import Instance, instance
from controller.predict.workload import Workload
from testbed.loading import load

KB, MB = 1024.0, 1e6
FLOAT = 4

TABLE_II = Workload(
    ("device side", "server side"),
    np.array([5.6e6, 86.01e6]),
    np.array([18 * KB, 40.0]),
    np.array([0.67 * MB, 0.0]),
    backward_ratio=1.0,
    label_bytes=0.0,
)
"""CPSL's Table II, cut after POOL1."""


def cpsl_draw(n: int, band_mhz: int, seed: int) -> Instance:
    """CPSL's section VIII-C: 0.1 to 1 Gcycle/s and 5 to 30 dB drawn evenly, subcarriers of 1 MHz, 16 samples each."""
    rng = np.random.default_rng([5, seed])
    flops = rng.uniform(0.1, 1.0, n) * 1e9
    rate = band_mhz * 1e6 * np.log2(1 + 10 ** (rng.uniform(5, 30, n) / 10))
    return Instance(
        workload=TABLE_II,
        ues=tuple(f"ue{i + 1}" for i in range(n)),
        ue_flops=flops,
        bs_flops=100e9,
        rate_up=rate,
        rate_down=rate,
        capacity_flop=np.full(n, 1e15),
        min_batch=np.ones(n, dtype=np.int64),
        batch=16 * n,
        frame_s=0.01,
        shared_air=True,
        duplex="tdd",
        subcarriers=band_mhz,
        bandwidth_hz=band_mhz * 1e6,
    )


def cpsl_phases(instance: Instance) -> Phases:
    """The draw's phases with one local epoch."""
    batch = np.full(instance.n, 16, dtype=np.int64)
    return phases(instance, 1, batch, 1, instance.subcarriers or 0)


def vgg5(channels: int, side: int) -> Workload:
    """VGG-5 of PiPar's Table II: two poolings by 2, at the end of the first two convolutions."""
    half, quarter = side // 2, side // 4
    dense = 64 * quarter**2
    flops = [
        _conv(side, 3, channels, 32),
        _conv(half, 3, 32, 64),
        _conv(quarter, 3, 64, 64),
        2.0 * dense * 128,
        2560.0,
    ]
    floats = [32 * half**2, dense, dense, 128, 10]
    weights = [9 * channels * 32, 9 * 32 * 64, 9 * 64 * 64, dense * 128, 1280]
    return _workload(("conv1", "conv2", "conv3", "fc1", "fc2"), flops, floats, weights)


def resnet18(channels: int, side: int) -> Workload:
    """ResNet-18 of PiPar's Table II: CONV-7-64 of stride 2 with max pool, eight blocks, and the head."""
    side = side // 4
    flops, floats, weights = [_conv(2 * side, 7, channels, 64)], [64 * side**2], [49 * channels * 64]
    before = 64
    for block in range(8):
        width = 64 * 2 ** (block // 2)
        side = max(1, side // 2) if width != before else side
        shortcut = _conv(side, 1, before, width) if width != before else 0.0
        flops.append(_conv(side, 3, before, width) + _conv(side, 3, width, width) + shortcut)
        floats.append(width * side**2)
        weights.append(9 * width * (before + width))
        before = width
    names = ("stem", *(f"block{i + 1}" for i in range(8)), "head")
    return _workload(names, [*flops, 10240.0], [*floats, 10], [*weights, 5130])


def pi_devices(work: Workload, network: str) -> Instance:
    """The devices and the server of the PiPar scene that ships for a network, for this workload."""
    scene = f"topologies/papers/pipar-pi-{network.replace('+', 'plus')}.yaml"
    return instance(load(Path(scene)), work)


def _conv(side: int, kernel: int, before: int, width: int) -> float:
    return 2.0 * side**2 * kernel**2 * before * width


def _workload(units: tuple[str, ...], flops: list[float], floats: list[int], weights: list[int]) -> Workload:
    sizes = FLOAT * np.array(floats, dtype=np.float64), FLOAT * np.array(weights, dtype=np.float64)
    return Workload(units, np.array(flops), *sizes, backward_ratio=2.0, label_bytes=1.0)


PIPAR_SCENES: dict[tuple[str, str], tuple[Workload, int]] = {
    ("VGG-5", "MNIST"): (vgg5(1, 28), 6),
    ("VGG-5", "CIFAR-10"): (vgg5(3, 32), 5),
    ("ResNet-18", "MNIST"): (resnet18(1, 28), 6),
    ("ResNet-18", "CIFAR-10"): (resnet18(3, 32), 5),
}
"""PiPar's small networks on its data, and how many batches of 100 a device has in an epoch (of 60 000 or 50 000)."""

TABLE_VII: dict[tuple[str, str, str], tuple[int, int]] = {
    ("VGG-5", "MNIST", "4g"): (2, 4),
    ("VGG-5", "MNIST", "4g+"): (1, 10),
    ("VGG-5", "MNIST", "wifi"): (1, 6),
    ("VGG-5", "CIFAR-10", "4g"): (1, 12),
    ("VGG-5", "CIFAR-10", "4g+"): (1, 6),
    ("VGG-5", "CIFAR-10", "wifi"): (1, 3),
    ("ResNet-18", "MNIST", "4g"): (1, 7),
    ("ResNet-18", "MNIST", "4g+"): (1, 4),
    ("ResNet-18", "MNIST", "wifi"): (1, 3),
    ("ResNet-18", "CIFAR-10", "4g"): (1, 8),
    ("ResNet-18", "CIFAR-10", "4g+"): (1, 6),
    ("ResNet-18", "CIFAR-10", "wifi"): (1, 3),
}
"""P and N that the paper's approach selects (Table VII)."""


def table_vii_request(model: str, data: str, network: str) -> Request:
    """One row of Table VII as a planning problem, on the devices that ship."""
    work, steps = PIPAR_SCENES[model, data]
    return Request(pi_devices(work, network), SCHEMES["pipar"], steps=steps)
