"""What one device makes of the attack: correctness, gradient steps a second, memory, the reference study's hours.

    python -m benchmarks.gpu            # ≤ 8 minutes on a GPU; prints Markdown tables; exit code 1 if a check fails
    python -m benchmarks.gpu --small    # anywhere, a small network, under a minute: its figures mean nothing

It needs no data, no network and, of packages, torch, timm, NumPy and pydantic alone, so that it runs on a bare GPU
machine from a copy of the repository: `PYTHONPATH=src python -m benchmarks.gpu`.

The network is InceptionV3 at 256 px with two classes, trained for a few updates on images made here, because the
gradients of an untrained network are chaos. The grid is the reference study's: ε 0.02 … 0.20, step 0.01, 20 iterations.
What does not fit into the time is left out, and said.
"""

from __future__ import annotations

import argparse
import ast
import copy
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


def stand_in_for_absent_packages() -> list[str]:
    """Put small stand-ins where jaxtyping and lazy_loader are not installed; returns which.

    Both are plain conveniences of the package (names of array axes, public names imported when first used), and a bare
    GPU machine has neither.
    """
    absent = [name for name in ("jaxtyping", "lazy_loader") if find_spec(name) is None]
    for name in absent:
        module = types.ModuleType(name)
        if name == "jaxtyping":
            for dtype in ("Float", "Float32", "Int"):
                setattr(module, dtype, type(dtype, (), {"__class_getitem__": classmethod(lambda _, item: item[0])}))
        else:
            module.attach_stub = _attach_stub  # type: ignore[attr-defined]
        sys.modules[name] = module
    return absent


def _attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`lazy_loader.attach_stub` for stubs made of `from .module import name as name`."""
    lines = ast.parse(Path(file).with_suffix(".pyi").read_text()).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    places = {alias.asname or alias.name: (one, alias.name) for one in imports for alias in one.names}

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        line, original = places[name]
        if line.module is None:
            return import_module(f"{package}.{original}")
        return getattr(import_module("." * line.level + line.module, package), original)

    return find, lambda: sorted(places), sorted(places)


stand_in_for_absent_packages()

import advassay as aa  # noqa: E402  (after the stand-ins)
from advassay.attacks.batch_tuning import tune_batch_size  # noqa: E402
from advassay.attacks.reference import iterates  # noqa: E402
from benchmarks.measuring import machine, note, say, table  # noqa: E402

EPSILONS = [0.02 * i for i in range(1, 11)]
STEP, STEPS = 0.01, 20
STUDY_IMAGES = 262_816
"""Attacked images of the reference study (Kovalev & Voynov 2019), all cohorts."""
UPDATES = 30
LOGIT_TOLERANCE = 1e-3
"""Largest difference of clean logits between device and processor, as a share of the logits' spread."""


class Scale(NamedTuple):
    """How large the benchmark is on this device."""

    network: str
    side: int
    images: int
    checked: int
    batches: tuple[int, ...]
    matrix: int
    seconds: float
    """Of one timing."""


FULL = Scale("inception_v3", 256, 1024, 8, (32, 128, 256, 512), 8192, 3.0)
SMALL = Scale("small CNN", 28, 32, 8, (8, 32), 512, 0.05)


class Bench:
    """The network and its images on one device, and the time that is left."""

    def __init__(self, device: str, scale: Scale, minutes: float) -> None:
        self.device, self.scale, self.ends = torch.device(device), scale, time.monotonic() + 60 * minutes
        self.failed: list[str] = []
        self.left_out: list[str] = []
        self.module = trained_network(scale, self.device)
        self.images, _ = make_images(scale, scale.images, seed=1)
        self.labels = self.predictions(self.images)

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return self.ends - time.monotonic()

    def wait(self) -> None:
        """Wait for what the device still computes."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def predictions(self, images: Tensor) -> Tensor:
        """int64 (image,): the network's classes, on the processor."""
        with torch.no_grad():
            return torch.cat([self.module(part.to(self.device)).argmax(1).cpu() for part in images.split(32)])

    def classifier(self) -> aa.Classifier:
        """The network as the package attacks it."""
        return aa.Classifier(self.module)

    def check(self, holds: bool, what: str) -> str:
        """ "holds" or "FAILS"; what fails is kept for the end."""
        if not holds:
            self.failed.append(what)
        return "holds" if holds else "FAILS"

    def has_time(self, seconds: float, what: str) -> bool:
        """Whether so many seconds are left; what is left out is kept for the end."""
        if self.left < seconds:
            self.left_out.append(what)
        return self.left >= seconds


def main() -> None:
    options = _options()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: expected a CUDA device, got none that torch can use. Give --device cpu.")
    small = options.small or (device == "cpu" and not options.full)
    warnings.simplefilter("ignore", aa.errors.AttackWarning)  # a network of few updates is a doubtful one
    with no_tf32():
        bench = Bench(device, SMALL if small else FULL, options.minutes)
        name = torch.cuda.get_device_name() if device == "cuda" else "processor"
        say(f"## {name}: {bench.scale.network}, {bench.scale.side} px, float32 without TF32 unless said\n")
        _correctness(bench)
        _speed(bench)
    if small:
        say("\nA small network: these figures show that everything runs, and nothing else.")
    if device == "cpu":
        say("\nNot run on CUDA here.")
    for what in bench.left_out:
        say(f"\nLeft out, no time: {what}.")
    say("\n" + machine("timm"))
    if bench.failed:
        raise SystemExit(f"Checks that fail: {'; '.join(bench.failed)}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], help="cuda where there is one")
    parser.add_argument("--small", action="store_true", help="a small network: to see that it works")
    parser.add_argument("--full", action="store_true", help="InceptionV3 at 256 px on a processor too (slow)")
    parser.add_argument("--minutes", type=float, default=8.0, help="when to leave out what is left (8)")
    return parser.parse_args()


@contextmanager
def no_tf32(*, allowed: bool = False) -> Iterator[None]:
    """Float32 products in full precision on CUDA, or in TF32 where `allowed`."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


# ---- network and images ---------------------------------------------------------------------------------------------


def make_images(scale: Scale, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth images in [0, 1], float32 (image, 3, side, side), and whether the left half is the brighter one."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 7, 7, generator=generator)
    images = nn.functional.interpolate(coarse, (scale.side, scale.side), mode="bilinear")
    half = scale.side // 2
    return images, (images[..., :half].mean((1, 2, 3)) > images[..., half:].mean((1, 2, 3))).long()


def trained_network(scale: Scale, device: torch.device) -> nn.Module:
    """The network after a few updates on the device, in eval mode, weights frozen."""
    torch.manual_seed(0)
    if scale.network == "small CNN":
        module: nn.Module = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * (scale.side // 2) ** 2, 2),
        )  # fmt: skip
    else:
        import timm

        module = timm.create_model(scale.network, num_classes=2, aux_logits=False)
    module.to(device).train()
    optimiser = torch.optim.Adam(module.parameters(), 3e-4)
    for update in range(UPDATES):
        images, labels = (each.to(device) for each in make_images(scale, 16, seed=1000 + update))
        loss = nn.functional.cross_entropy(module(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for weight in module.eval().parameters():
        weight.requires_grad_(False)
    return module


# ---- correctness ----------------------------------------------------------------------------------------------------


def _correctness(bench: Bench) -> None:
    """The device against the processor, the fast precision against float32, a captured graph against single calls."""
    images, labels = bench.images[: bench.scale.checked], bench.labels[: bench.scale.checked]
    attack = aa.PGD(epsilon=0.02, step_size=0.005, steps=STEPS)
    note("correctness: the reference loop on the processor")
    module = copy.deepcopy(bench.module).cpu()
    path = list(iterates(module, images, labels, attack))
    with torch.no_grad():
        expected = torch.stack([module(x) for x in path]).numpy()
    note("correctness: exact and fast on the device")
    found = {p: aa.attack(bench.classifier(), images, labels, attack, precision=p) for p in ("exact", "fast")}
    exact = found["exact"].logits
    spread = float(np.ptp(expected[0])) or 1.0
    clean = float(np.abs(exact[0] - expected[0]).max()) / spread
    decided = (exact.argmax(2) == expected.argmax(2)).mean()
    success = [
        (expected[-1].argmax(1) != labels.numpy()).mean(),
        *(f.attack_success_rate()[-1] for f in found.values()),
    ]
    rows = [
        ["clean logits, exact on the device − processor, share of their spread", f"{clean:.1e}",
         bench.check(clean <= LOGIT_TOLERANCE, "clean logits")],
        ["clean gradient, sign equal", f"{_same_sign(bench, module, images, labels):.4f}", ""],
        ["decisions at all 21 iterates equal to the reference loop's", f"{decided:.4f}",
         bench.check(bool((exact.argmax(2)[0] == expected.argmax(2)[0]).all()), "clean decisions")],
        ["success at ε = 0.02, step 0.005: reference, exact, fast", ", ".join(f"{rate:.2f}" for rate in success), ""],
    ]  # fmt: skip
    for precision, result in found.items():
        with torch.no_grad():
            again = module(torch.from_numpy(result.adversarial_images)).numpy()
        near = np.abs(np.diff(again, axis=1)[:, 0]) <= LOGIT_TOLERANCE * spread
        same = (again.argmax(1) == result.logits[-1].argmax(1)) | near
        rows.append([
            f"{precision}: recorded decision on the last iterate equals the processor's in float32",
            f"{same.sum()} of {len(same)}", bench.check(bool(same.all()), f"decisions of {precision}"),
        ])  # fmt: skip
        size = np.abs(result.adversarial_images - images.numpy()).max()
        rows.append([
            f"{precision}: largest change of a pixel", f"{size:.7f}",
            bench.check(bool(size <= 0.02 + 2**-24), f"the ball of {precision}"),
        ])  # fmt: skip
    if bench.device.type == "cuda":
        rows.append(_captured(bench, images, labels))
    say(table(["check", "found", ""], rows) + "\n")


def _gradient(module: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(module(x), labels, reduction="sum"), x)
    return gradient


def _same_sign(bench: Bench, module: nn.Module, images: Tensor, labels: Tensor) -> float:
    there = _gradient(bench.module, images.to(bench.device), labels.to(bench.device)).cpu()
    return float((there.sign() == _gradient(module, images, labels).sign()).double().mean())


def _captured(bench: Bench, images: Tensor, labels: Tensor) -> list[str]:
    """One PGD step captured as a CUDA graph and replayed, against the same steps called one by one."""
    x, clean, y = (each.to(bench.device).clone() for each in (images, images, labels))

    def step() -> None:
        moved = x + STEP * _gradient(bench.module, x, y).sign()
        x.copy_((clean + (moved - clean).clamp(-0.02, 0.02)).clamp(0, 1))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    x.copy_(clean)
    for _ in range(5):
        step()
    called = x.clone()
    x.copy_(clean)
    for _ in range(5):
        graph.replay()
    equal = (x == called).double().mean().item()
    return ["five steps from a captured graph, pixels equal to single calls", f"{equal:.4f}", ""]


# ---- speed ----------------------------------------------------------------------------------------------------------


class Timed(NamedTuple):
    """What one contender reaches."""

    name: str
    batch: int
    per_second: float
    peak_mib: float
    number: str
    """float32, TF32 or bfloat16: which peak its FLOP are set against."""


def _speed(bench: Bench) -> None:
    flop = flop_per_gradient(bench)
    peaks = {number: matrix_peak(bench, number) for number in ("float32", "TF32", "bfloat16")}
    rows = []
    plain: dict[str, Timed] = {}
    for name, number, autocast, last in (
        ("plain loop", "float32", False, False),
        ("plain loop, channels last", "float32", False, True),
        ("plain loop, TF32", "TF32", False, True),
        ("plain loop, bfloat16 autocast", "bfloat16", True, True),
    ):
        if number == "TF32" and bench.device.type == "cpu":
            continue
        if bench.has_time(30 if bench.scale is FULL else 1, name):
            plain[name] = _plain(bench, name, number, autocast, last)
            rows.append(_row(plain[name], flop, peaks, plain))
    ours: dict[str, tuple[float, float]] = {}
    for precision in ("exact", "fast32", "fast"):
        if bench.has_time(90 if bench.scale is FULL else 1, f"the grid, {precision}"):
            timed, gradients, seconds = _grid(bench, precision)
            ours[precision] = gradients, seconds
            rows.append(_row(timed, flop, peaks, plain))
    say(table(["gradient steps", "batch", "steps/s", "FLOP used, % of a product's", "× plain", "peak MiB"], rows))
    say(
        f"\nOne gradient step: {flop / 1e9:.2f} GFLOP an image (forward and input gradient). Matrix product of "
        f"{bench.scale.matrix}: " + ", ".join(f"{n} {p / 1e12:.3g}" for n, p in peaks.items() if p) + " TFLOP/s."
    )
    for precision, (gradients, seconds) in ours.items():
        each = f"\n{precision}: {gradients:.0f} gradients and {seconds:.3g} s an image for ten ε × {STEPS} iterations"
        hours = STUDY_IMAGES * seconds / 3600
        study = f"; the reference study's {STUDY_IMAGES:,} images: {hours:.3g} hours" if bench.scale is FULL else ""
        say(f"{each}, everything recorded{study}.")


def _row(timed: Timed, flop: float, peaks: dict[str, float], plain: dict[str, Timed]) -> list[str]:
    peak, base = peaks[timed.number], plain.get("plain loop")
    return [
        timed.name, str(timed.batch), f"{timed.per_second:,.0f}",
        f"{100 * timed.per_second * flop / peak:.0f}" if peak else "",
        f"{timed.per_second / base.per_second:.2f}" if base else "", f"{timed.peak_mib:,.0f}",
    ]  # fmt: skip


def flop_per_gradient(bench: Bench) -> float:
    """Floating-point operations of one image's forward pass and input gradient, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    x = bench.images[:1].to(bench.device).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        logits = bench.module(x * 1)  # the counter's hooks refuse an input that is a leaf
        torch.autograd.grad(logits.sum(), x)
    return float(counter.get_total_flops())


def matrix_peak(bench: Bench, number: str) -> float:
    """FLOP a second of a square matrix product; 0 where the device has no such numbers."""
    if number == "TF32" and bench.device.type == "cpu":
        return 0.0
    dtype = torch.bfloat16 if number == "bfloat16" else torch.float32
    n = bench.scale.matrix
    a, b = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))
    with no_tf32(allowed=number == "TF32"):
        return 2 * n**3 * per_second(bench, lambda: a @ b, bench.scale.seconds / 3)


def per_second(bench: Bench, call: Callable[[], object], seconds: float) -> float:
    """How often a second `call` runs: the median of five stretches, after two calls to warm up."""
    for _ in range(2):
        call()
    bench.wait()
    began = time.perf_counter()
    call()
    bench.wait()
    times = max(1, int(seconds / 5 / max(time.perf_counter() - began, 1e-9)))
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            call()
        bench.wait()
        rates.append(times / (time.perf_counter() - began))
    return median(rates)


def _plain(bench: Bench, name: str, number: str, autocast: bool, last: bool) -> Timed:
    """A plain PGD loop's steps at its best batch."""
    best = Timed(name, 0, 0.0, 0.0, number)
    module = bench.module.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    for batch in bench.scale.batches:
        n = min(batch, len(bench.images))
        clean, y = bench.images[:n].to(bench.device), bench.labels[:n].to(bench.device)
        clean = clean.contiguous(memory_format=torch.channels_last) if last else clean
        x = clean.clone()

        def step(x: Tensor = x, clean: Tensor = clean, y: Tensor = y) -> None:
            half = torch.autocast(bench.device.type, torch.bfloat16) if autocast else nullcontext()
            with half:
                gradient = _gradient(module, x, y)
            x.copy_((clean + (x + STEP * gradient.sign() - clean).clamp(-0.02, 0.02)).clamp(0, 1))

        note(f"{name}, batches of {batch}")
        _forget_peak(bench)
        try:
            with no_tf32(allowed=number == "TF32"):
                rate = n * per_second(bench, step, bench.scale.seconds)
        except torch.OutOfMemoryError:
            break
        if rate > best.per_second:
            best = Timed(name, batch, rate, _peak_mib(bench), number)
    bench.module.to(memory_format=torch.contiguous_format)
    return best


def _grid(bench: Bench, precision: Any) -> tuple[Timed, float, float]:
    """The study's grid by the package, second call: gradients a second, gradients and seconds an image."""
    classifier, attack = bench.classifier(), aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
    note(f"the grid, {precision}: batch size")
    shape = tune_batch_size(
        classifier,
        bench.images[0].numpy(),
        precision=precision,
        device=bench.device.type,
        most=max(bench.scale.batches),
    )

    def run(n: int) -> Any:
        return aa.sweep(
            classifier, bench.images[:n], bench.labels[:n], attack, EPSILONS,
            precision=precision, batch_size=shape.batch_size,
        )  # fmt: skip

    few = min(shape.batch_size, bench.scale.images)
    note(f"the grid, {precision}: first call")
    run(few)
    began = time.perf_counter()
    run(few)
    took = (time.perf_counter() - began) / few
    n = max(few, min(bench.scale.images, int(min(60.0, bench.left / 4) / max(took, 1e-9))))
    note(f"the grid, {precision}: {n} images in batches of {shape.batch_size}")
    _forget_peak(bench)
    began = time.perf_counter()
    found = run(n)
    seconds = time.perf_counter() - began
    gradients = found.cost.gradient_evaluations
    number = "bfloat16" if precision == "fast" else "float32"
    name = f"advassay, {precision}: the whole grid, every iterate recorded"
    return Timed(name, shape.batch_size, gradients / seconds, _peak_mib(bench), number), gradients / n, seconds / n


def _forget_peak(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)


def _peak_mib(bench: Bench) -> float:
    """On CUDA the most memory that tensors took since the last reset; on a processor the process's peak so far."""
    if bench.device.type == "cuda":
        return torch.cuda.max_memory_allocated(bench.device) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
