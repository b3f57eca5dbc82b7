"""The execution configuration: what fixes the last bits of a result. Chosen once, recorded, reused."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from math import ceil, inf

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import GradientModel
from advassay.attacks.checks.inputs import check_classifier, check_weights
from advassay.attacks.engine.float32_verifier import REWRITES
from advassay.attacks.float32_settings import full_float32
from advassay.attacks.surrogate.build import FUSED, Surrogate, build_surrogate, possible_on
from advassay.attacks.surrogate.compile import backend_of, compile_surrogate, rewrite_name, worth_trying
from advassay.attacks.surrogate.speed_trial import SpeedTrial
from advassay.classifier import Classifier
from advassay.errors import AdvassayWarning
from advassay.spec.attack_spec import Precision
from advassay.store_documents import ExecutionConfig

ENOUGH = 0.95
"""Share of the best speed at which the simpler is preferred: a smaller batch, the network as it is."""
LARGEST = {"cpu": 64, "cuda": 1024}
"""Largest batch tried."""
SMALLEST = 4
"""Smallest batch tried, where there are images to fill it: below it every processor is slower."""
PASSES = 3
"""Gradients of a batch that its speed is measured with."""
UNKNOWN_STEPS = 10_000
"""Gradient steps of a work whose size is not said, for what may be spent on it."""
MEASURING = 0.25
"""Share of the work's gradient steps that measuring may cost."""


def execution_config(batch_size: int, *, precision: Precision, device: str = "cpu") -> ExecutionConfig:
    """The shape of this machine and process at a given batch size."""
    cuda = torch.device(device).type == "cuda"
    rewrites = possible_on(device, REWRITES[precision])
    return ExecutionConfig(
        batch_size=batch_size,
        device="cuda" if cuda else "cpu",
        device_name=torch.cuda.get_device_name() if cuda else _processor(),
        threads=torch.get_num_threads(),
        memory_format="channels-last" if "channels-last" in rewrites else "contiguous",
        rewrites=rewrites,
        torch=torch.__version__,
    )


def tune_batch_size(
    classifier: Classifier,
    example: np.ndarray,
    *,
    precision: Precision = "fast",
    device: str = "cpu",
    most: int | None = None,
    rows: Sequence[int] | None = None,
    steps: int | None = None,
    backend: str = "inductor",
) -> ExecutionConfig:
    """Measure gradient throughput at growing batch sizes and take the one that ends the work soonest.

    `example`: one image, float32 (channel, height, width) in [0, 1]; `most`: largest batch to consider (by default
    LARGEST of the device); `rows`: of each run that is to have this shape, how many trajectories go on side by side, so
    that a few do not pad a large batch; `steps`: gradient steps of the whole work, a share of which measuring may take.
    Both are taken as many if not given.
    Where `steps` are enough to win back a compilation (surrogate/compile.py), the network compiled by `backend` is
    timed too, and kept if it is faster; else rewrites that do not pay are set aside (surrogate/speed_trial.py). Takes a
    few seconds; stops growing where memory or patience ends.
    """
    check_classifier(classifier)
    check_weights(classifier)
    image = torch.from_numpy(np.array(example, np.float32)).to(device)
    largest = most or LARGEST[torch.device(device).type]
    largest = largest if rows is None else min(largest, _holding(max(rows)))
    with classifier.attack_mode(), full_float32():
        wanted = execution_config(1, precision=precision, device=device)
        steering = build_surrogate(classifier, image[None], wanted.rewrites)
        speeds = _speeds(steering, image, largest, steps)
        chosen = best_batch(speeds, rows)
        rewrites = wanted.rewrites
        if rewrites and steps and worth_trying(classifier, steps / speeds[chosen], device):
            unfused = tuple(r for r in rewrites if r != FUSED)  # the compiler fuses by itself
            steering = build_surrogate(classifier, image[None], unfused)
            if compiled := _compiled(steering, image, chosen, speeds[chosen], backend):
                rewrites = unfused + compiled
        if rewrites and backend_of(rewrites) is None:
            rewrites = _fastest(classifier, image, steering, rewrites, chosen, steps or UNKNOWN_STEPS)
    shape = execution_config(chosen, precision=precision, device=device)
    return shape.model_copy(update={"rewrites": rewrites})


def _fastest(
    classifier: Classifier, image: Tensor, built: Surrogate, wanted: tuple[str, ...], batch_size: int, steps: int
) -> tuple[str, ...]:
    """The part of the rewrites that steers fastest; what does not hold on some network is left in, and tried there."""
    labels = torch.zeros(1, dtype=torch.int64, device=image.device)
    trial = SpeedTrial(
        classifier, image[None], labels, None, loss="cross-entropy", batch_size=batch_size, gradients=steps
    )
    unbuilt = {wanted: built}
    chosen = trial.choose(wanted, lambda names: unbuilt.get(names) or build_surrogate(classifier, image[None], names))
    return wanted if chosen == built.rewrites else chosen


def best_batch(speeds: Mapping[int, float], rows: Sequence[int] | None = None) -> int:
    """The batch size that gets every run's `rows` one step further soonest, padding included; None = any number.

    `speeds`: batch size → images per second. Of sizes within ENOUGH of the best, the smallest.

    >>> speeds = {1: 12, 4: 45, 16: 136, 64: 225}
    >>> best_batch(speeds), best_batch(speeds, [12]), best_batch(speeds, [36]), best_batch(speeds, [36, 12, 12])
    (64, 16, 64, 16)
    """
    filled = [max(speeds)] if rows is None else rows  # which every size divides
    seconds = {size: sum(ceil(n / size) for n in filled) * size / speed for size, speed in speeds.items()}
    return min(size for size, taken in seconds.items() if ENOUGH * taken <= min(seconds.values()))


def _holding(rows: int) -> int:
    """The smallest power of two that holds so many rows."""
    return 1 << (rows - 1).bit_length()


def _speeds(steering: Surrogate, image: Tensor, largest: int, steps: int | None) -> dict[int, float]:
    """Batch size → images per second, for powers of two while that is worth its time."""
    speeds: dict[int, float] = {}
    size, allowed = min(SMALLEST, largest), inf if steps is None else MEASURING * steps
    while not speeds or (size <= largest and PASSES * size <= allowed and not _slowing(speeds)):
        try:
            speeds[size] = images_per_second(attacked(steering), image, size)
        except torch.OutOfMemoryError:
            break
        allowed -= PASSES * size
        size *= 2
    return speeds


def _compiled(steering: Surrogate, image: Tensor, batch_size: int, eager: float, backend: str) -> tuple[str, ...]:
    """The name of the compiled rewrite if it is faster than the eager speed at this batch size, else nothing."""
    compiled = compile_surrogate(steering, image[None], batch_size, backend)
    if compiled.module is steering.module:
        warnings.warn(f"{compiled.notes[-1]}: the attack goes on without.", AdvassayWarning, stacklevel=3)
        return ()
    faster = images_per_second(attacked(compiled), image, batch_size) * ENOUGH > eager
    return (rewrite_name(backend),) if faster else ()


def activation_bytes(classifier: Classifier, image: np.ndarray) -> int | None:
    """Bytes that a gradient pass keeps of an image (1, channel, height, width); None where the pass fails.

    What autograd saves, twice over: the gradients that come back are about as large.
    """
    kept: dict[int, int] = {}
    own = {tensor.data_ptr() for tensor in (*classifier.parameters(), *classifier.buffers())}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    x = torch.from_numpy(image).to(classifier.mean.device).requires_grad_()
    try:
        saved = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with classifier.attack_mode(), full_float32(), torch.enable_grad(), saved:
            classifier(x)
    except Exception:  # the network is the user's and may raise anything: the examination says what is wrong with it
        return None
    return 2 * sum(kept.values())


def attacked(steering: Surrogate) -> GradientModel:
    """The network as an attack with the cross-entropy passes through it."""
    return GradientModel(steering.module, "cross-entropy", channels_last="channels-last" in steering.rewrites)


def images_per_second(network: GradientModel, image: Tensor, batch_size: int) -> float:
    """Gradients of `image` (channel, height, width) a second, `batch_size` at a time; the first pass warms up."""
    batch = image.expand(batch_size, *image.shape).contiguous()
    labels = torch.zeros(batch_size, dtype=torch.int64, device=image.device)
    seconds = []
    for _ in range(PASSES):  # the first warms up
        began = time.perf_counter()
        network.gradient(batch, labels, None)
        if image.is_cuda:
            torch.cuda.synchronize(image.device)
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
