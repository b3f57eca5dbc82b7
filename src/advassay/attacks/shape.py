"""The compute shape: what fixes the last bits of a result. Chosen once, recorded, reused."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import Precision
from advassay.attacks.network import Network, full_float32
from advassay.attacks.precision import REWRITES
from advassay.attacks.rewrite import processor_has_bfloat16, rewrite
from advassay.classifier import Classifier
from advassay.documents import ComputeShape

ENOUGH = 0.95
"""Share of the best throughput seen at which a smaller batch is preferred: it needs less memory and less padding."""


def compute_shape(batch_size: int, *, precision: Precision, device: str = "cpu") -> ComputeShape:
    """The shape of this machine and process at a given batch size."""
    cuda = torch.device(device).type == "cuda"
    native = processor_has_bfloat16(device)
    rewrites = tuple(r for r in REWRITES[precision] if r != "bfloat16" or native)
    return ComputeShape(
        batch_size=batch_size,
        device="cuda" if cuda else "cpu",
        device_name=torch.cuda.get_device_name() if cuda else _processor(),
        threads=torch.get_num_threads(),
        memory_format="channels-last" if "channels-last" in rewrites else "contiguous",
        rewrites=rewrites,
        torch=torch.__version__,
    )


def choose_compute_shape(
    classifier: Classifier, example: np.ndarray, *, precision: Precision = "fast", device: str = "cpu", most: int = 64
) -> ComputeShape:
    """Measure gradient throughput at growing batch sizes and take the smallest that is nearly the fastest.

    `example`: one image, float32 (channel, height, width) in [0, 1]; `most`: largest batch to consider, for instance
    how many images there are. Takes a few seconds; stops growing where memory or patience ends.
    """
    image = torch.from_numpy(np.array(example, np.float32)).to(device)
    speeds: dict[int, float] = {}
    with classifier.attack_mode(), full_float32():
        wanted = compute_shape(1, precision=precision, device=device).rewrites
        steering = rewrite(classifier, image[None], wanted)
        last = "channels-last" in steering.rewrites
        network = Network(steering.module, "cross-entropy", channels_last=last)
        size = 1
        while size <= max(1, most) and not _slowing(speeds):
            try:
                speeds[size] = _images_per_second(network, image, size)
            except torch.OutOfMemoryError:
                break
            size *= 2
    best = max(speeds.values())
    chosen = min(size for size, speed in speeds.items() if speed >= ENOUGH * best)
    return compute_shape(chosen, precision=precision, device=device)


def _images_per_second(network: Network, image: Tensor, batch_size: int) -> float:
    batch = image.expand(batch_size, *image.shape).contiguous()
    labels = torch.zeros(batch_size, dtype=torch.int64, device=image.device)
    seconds = []
    for _ in range(3):  # the first warms up
        began = time.perf_counter()
        network.gradient(batch, labels, None)
        if image.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        if seconds[0] > 4:
            break
    return batch_size / min(seconds)


def _slowing(speeds: dict[int, float]) -> bool:
    """Two doublings without gain: no larger batch will help."""
    rates = list(speeds.values())
    return len(rates) > 2 and max(rates[-2:]) < 1.02 * max(rates[:-2])


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()
