"""Our engine beside torchattacks, Foolbox and ART on one network and the same images.

    python -m benchmarks.peers            # about 20 minutes on 2 idle cores; prints the tables of docs/performance.md
    python -m benchmarks.peers --small    # seconds: the same code on a tiny network, figures mean nothing

The study's grid: ε 0.02 … 0.20, step 0.01, 20 iterations, L∞ sign, cross-entropy, no random start. A peer runs one ε
(ten runs take ten times as long: checked once with torchattacks); we run one ε and the whole grid with every
iterate's logits. Every contender (of ours, every precision) runs in a process of its own, and rounds are interleaved so
that a busy moment hits everyone. One row gives torchattacks what we do to a process's memory
(process_tuning.keep_freed_memory); that oneDNN keeps more of what it compiles, all of them have.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

import advassay as aa
from benchmarks.apart import Apart, Runs
from benchmarks.measuring import Measured, machine, measured, note, say, spread, table
from benchmarks.subject import Subject, trained

EPSILONS = [0.02 * i for i in range(1, 11)]
STEP, STEPS = 0.01, 20
POINTS_PER_EPSILON = (STEPS + 1) / 2
"""A user who reruns for every iteration count takes 1 + 2 + … + 20 = 210 gradients an ε where one run takes 20."""
PRECISIONS = ("exact", "fast32", "fast")
UNIT = "torchattacks, one ε"
KEPT = "torchattacks, one ε, freed memory kept"
TEN, TEN_LOGITS = "torchattacks, ten ε", "the logits at their ends"
GRIDS = {"one ε": [0.02], "whole grid": EPSILONS}


def main() -> None:
    options = _options()
    subject = trained(options.side, updates=options.updates, images=options.phantoms, architecture=options.architecture)
    few = Few(subject.checkpoint, subject.images[: options.images].numpy(), subject.labels[: options.images].numpy())
    say(
        f"{options.architecture}, {options.side} px, validation accuracy {subject.score:.2f}; {options.images} images\n"
    )
    contenders = {
        UNIT: Apart(_torchattacks_runs, few, False),
        KEPT: Apart(_torchattacks_runs, few, True),
        "Foolbox, one ε": Apart(_foolbox_runs, few),
        "ART, one ε": Apart(_art_runs, few),
    }
    ours = {p: Apart(_our_runs, few, p) for p in PRECISIONS}
    contenders |= {f"ours {p}, {extent}": ours[p] for extent in GRIDS for p in PRECISIONS}
    seen: dict[str, list[Measured]] = {name: [] for name in contenders}
    ends = {}
    for number in range(options.rounds):
        for name, contender in contenders.items():
            took, ends[name] = contender.run(name)
            seen[name].append(took)
            note(f"round {number + 1}: {name} {took.wall_s:.1f} s")
    unit_s = _speed_table(seen)
    ten, _ = contenders[UNIT].run(TEN)
    _, theirs = contenders[UNIT].run(TEN_LOGITS)
    logits, gradients = ends["ours exact, whole grid"]
    say(
        f"\nTen ε by torchattacks: {ten.wall_s:.1f} s = {ten.wall_s / unit_s:.2f} × one ε. Our final logits, `exact`, "
        f"{'equal' if np.array_equal(theirs, logits) else 'DIFFER FROM'} theirs bit for bit; {gradients:.0f} gradients "
        f"an image instead of {len(EPSILONS) * STEPS}."
    )
    for contender in set(contenders.values()):
        contender.end()
    _first_success(subject, few, unit_s)
    _overhead(subject, few)
    if options.memory:
        _memory(options.most_images)
    say("\n" + machine("torchattacks", "foolbox", "adversarial-robustness-toolbox"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny network: only to see that it runs")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    options = parser.parse_args()
    options.architecture, options.phantoms, options.most_images = "inception_v3", 480, 4096
    if options.small:
        options.architecture, options.side, options.updates, options.rounds = "resnet10t", 64, 4, 1
        options.phantoms, options.images, options.most_images = 160, 4, 256
    return options


class Few(NamedTuple):
    """What every contender attacks."""

    checkpoint: Path
    images: np.ndarray
    """float32 (image, channel, height, width) in [0, 1]."""
    labels: np.ndarray
    """int64 (image,)."""

    def load(self) -> tuple[aa.Classifier, torch.Tensor, torch.Tensor]:
        """The network, the images and the labels as tensors."""
        from advassay.process_tuning import keep_compiled_layers
        from advassay.training import load_classifier

        keep_compiled_layers()
        return load_classifier(self.checkpoint).eval(), torch.from_numpy(self.images), torch.from_numpy(self.labels)


def _torchattacks_runs(few: Few, kept: bool) -> Runs:
    import torchattacks

    from advassay.process_tuning import keep_freed_memory

    network, images, labels = few.load()
    if kept and not keep_freed_memory():
        raise SystemExit(f"{KEPT}: glibc is needed, with no MALLOC_ or GLIBC_TUNABLES variable of its own set.")
    ends: list[torch.Tensor] = []

    def attacked(epsilon: float) -> torch.Tensor:
        attack = torchattacks.PGD(network, eps=epsilon, alpha=STEP, steps=STEPS, random_start=False)
        return attack(images, labels)

    def ten() -> None:
        ends[:] = [attacked(epsilon) for epsilon in EPSILONS]

    @torch.no_grad()
    def logits() -> np.ndarray:
        return torch.stack([network(end) for end in ends]).numpy()

    return {KEPT if kept else UNIT: lambda: _nothing(attacked(0.02)), TEN: ten, TEN_LOGITS: logits}


def _foolbox_runs(few: Few) -> Runs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # modules that its dependencies have deprecated
        import foolbox

    network, images, labels = few.load()
    model = foolbox.PyTorchModel(network, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    return {"Foolbox, one ε": lambda: _nothing(attack(model, images, labels, epsilons=0.02))}


def _art_runs(few: Few) -> Runs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

    network, images, labels = few.load()
    model = PyTorchClassifier(
        network, torch.nn.CrossEntropyLoss(), tuple(images.shape[1:]), 2, clip_values=(0, 1), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        model, eps=0.02, eps_step=STEP, max_iter=STEPS, batch_size=len(images), verbose=False
    )
    return {"ART, one ε": lambda: _nothing(attack.generate(images.numpy(), labels.numpy()))}


def _nothing(result: object) -> None:
    """What a run gives and no one needs stays in its process."""


def _our_runs(few: Few, precision: str) -> Runs:
    aa.tune_process()
    classifier, images, labels = few.load()
    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)

    def run(epsilons: list[float]) -> tuple[np.ndarray, float]:
        """Logits of the last iterates (epsilon, image, class), and gradients an image."""
        sweep = aa.sweep(classifier, images, labels, attack, epsilons, precision=precision)
        return sweep.logits[:, -1], sweep.cost.gradient_evaluations / len(labels)

    return {f"ours {precision}, {extent}": partial(run, epsilons) for extent, epsilons in GRIDS.items()}


def _speed_table(seen: dict[str, list[Measured]]) -> float:
    """Prints it; returns the unit, in seconds."""
    unit = median([m.wall_s for m in seen[UNIT][1:] or seen[UNIT]])
    rows = []
    for name, times in seen.items():
        wall = median([m.wall_s for m in times[1:] or times])
        whole = "grid" in name
        ratio = (len(EPSILONS) if whole else 1) * unit / wall
        rows.append(
            [
                name,
                f"{times[0].wall_s:.3g}",
                spread([m.wall_s for m in times[1:] or times]),
                spread([m.cpu_s for m in times[1:] or times]),
                f"{ratio:.2f}",
                f"{ratio * POINTS_PER_EPSILON:.1f}" if whole else "",
                f"{max(m.peak_mib for m in times):.0f}",
            ]
        )
    header = ["run", "first call s", "wall s", "CPU s", "× torchattacks", "× rerunning every (ε, k)", "peak MiB"]
    say(table(header, rows))
    return unit


def _first_success(subject: Subject, few: Few, one_s: float) -> None:
    """First-success curves: every trajectory ends at its first success."""
    found: dict[str, aa.Sweep] = {}

    def run() -> None:
        attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
        args = (subject.classifier, few.images, few.labels, attack, EPSILONS)
        found["short"] = aa.sweep(*args, precision="fast", first_success_only=True)

    measured(run)  # the first call examines the network
    ours = measured(run)
    share = found["short"].attack_success_rate("any")[:, -1].mean()
    say(
        f"\nFirst success only (`fast`): {ours.wall_s:.1f} s = {len(EPSILONS) * one_s / ours.wall_s:.1f} × "
        f"torchattacks, where {share:.0%} of (image, ε) fall; "
        f"{found['short'].cost.gradient_evaluations / len(few.labels):.0f} gradients an image."
    )


def _overhead(subject: Subject, few: Few) -> None:
    """Wall time outside network passes, of a first call (which examines and rewrites the network) and of the next."""
    from advassay.attacks import attack_step as passes

    spent = [0.0]
    originals = passes.GradientModel.gradient, passes.GradientModel.score

    def timed(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: passes.GradientModel, *args: object) -> object:
            result: list[object] = []
            spent[0] += measured_quick(lambda: result.append(method(self, *args)))
            return result[0]

        return call

    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
    classifier, images, labels = few.load()  # one that nobody knows yet
    passes.GradientModel.gradient, passes.GradientModel.score = (timed(m) for m in originals)  # type: ignore[method-assign]
    try:
        for precision in ("exact", "fast"):
            shares = []
            for _ in range(2):
                spent[0] = 0.0
                whole = measured_quick(
                    lambda p=precision: aa.sweep(classifier, images, labels, attack, EPSILONS, precision=p)
                )
                shares.append(1 - spent[0] / whole)
            say(
                f"Scheduling, recording and guards, `{precision}`: {shares[1]:.1%} of wall time of a grid over "
                f"{len(labels)} images; {shares[0]:.1%} where the network is examined and rewritten first."
            )
    finally:
        passes.GradientModel.gradient, passes.GradientModel.score = originals  # type: ignore[method-assign]


def measured_quick(call: Callable[[], object]) -> float:
    import time

    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _memory(most: int) -> None:
    """Peak memory of a stream over a small network, from 64 images to `most`, each in a process of its own."""
    rows = []
    for count in sorted({64, most // 8, most}):
        streaming = Apart(_streaming_runs, count)
        used, _ = streaming.run("stream")
        streaming.end()
        rows.append([str(count), f"{used.peak_mib:.0f}", f"{used.wall_s:.1f}"])
    say("\n" + table(["images streamed", "peak MiB", "wall s"], rows))


def _streaming_runs(count: int) -> Runs:
    from advassay.attacks import Item, tune_batch_size
    from advassay.attacks.stream import stream

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 31 * 31, 2)
    )
    classifier = aa.Classifier(network.eval())
    arm = aa.Arm(epsilons=(0.02, 0.1, 0.2), steps=5, precision="fast32")
    points = frozenset(("0.01", e) for e in arm.epsilons)
    shape = tune_batch_size(classifier, _noise(0), precision="fast32", most=16)
    items = (Item(str(i), _noise(i), i % 2, points) for i in range(count))
    return {"stream": lambda: _nothing([None for _ in stream(classifier, items, arm, shape=shape)])}


def _noise(index: int) -> np.ndarray:
    return torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(index)).numpy()


if __name__ == "__main__":
    main()
