"""Our engine beside torchattacks, Foolbox and ART on one network and the same images.

    python -m benchmarks.peers            # about 20 minutes on 2 idle cores; prints the tables of docs/performance.md
    python -m benchmarks.peers --small    # seconds: the same code on a tiny network, figures mean nothing

The study's grid: ε 0.02 … 0.20, step 0.01, 20 iterations, L∞ sign, cross-entropy, no random start. A peer runs one ε
(ten runs take ten times as long: checked once with torchattacks); we run one ε and the whole grid with every
iterate's logits. Rounds are interleaved so that a busy moment hits everyone.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from statistics import median

import torch

import advassay as aa
from benchmarks.measuring import Measured, machine, measured, note, say, spread, table
from benchmarks.subject import Subject, trained

EPSILONS = [0.02 * i for i in range(1, 11)]
STEP, STEPS = 0.01, 20
POINTS_PER_EPSILON = (STEPS + 1) / 2
"""A user who reruns for every iteration count takes 1 + 2 + … + 20 = 210 gradients an ε where one run takes 20."""


def main() -> None:
    options = _options()
    subject = trained(options.side, updates=options.updates, images=options.phantoms, architecture=options.architecture)
    images, labels = subject.images[: options.images], subject.labels[: options.images]
    say(f"{options.architecture}, {options.side} px, validation accuracy {subject.score:.2f}; {len(images)} images\n")
    runs = _peers(subject, images, labels) | _ours(subject, images, labels)
    seen: dict[str, list[Measured]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name, run in runs.items():
            seen[name].append(measured(run))
            note(f"round {number + 1}: {name} {seen[name][-1].wall_s:.1f} s")
    _speed_table(seen)
    _ten_runs(subject, images, labels, seen)
    _first_success(subject, images, labels)
    _overhead(subject, images, labels)
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


def _peers(subject: Subject, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable[[], object]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # modules that the peers' own dependencies have deprecated
        import foolbox
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

    network = subject.classifier.eval()
    foolbox_model = foolbox.PyTorchModel(network, bounds=(0, 1))
    foolbox_attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    art_model = PyTorchClassifier(
        network, torch.nn.CrossEntropyLoss(), tuple(images.shape[1:]), 2, clip_values=(0, 1), device_type="cpu"
    )
    art_attack = ProjectedGradientDescentPyTorch(
        art_model, eps=0.02, eps_step=STEP, max_iter=STEPS, batch_size=len(images), verbose=False
    )
    return {
        "torchattacks, one ε": lambda: _torchattacks(network, images, labels, 0.02),
        "Foolbox, one ε": lambda: foolbox_attack(foolbox_model, images, labels, epsilons=0.02),
        "ART, one ε": lambda: art_attack.generate(images.numpy(), labels.numpy()),
    }


def _torchattacks(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    import torchattacks

    return torchattacks.PGD(network, eps=epsilon, alpha=STEP, steps=STEPS, random_start=False)(images, labels)


def _ours(subject: Subject, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable[[], object]]:
    def run(epsilons: list[float], precision: str) -> Callable[[], object]:
        attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
        return lambda: aa.sweep(subject.classifier, images, labels, attack, epsilons, precision=precision)

    one = {f"ours {p}, one ε": run([0.02], p) for p in ("exact", "fast32", "fast")}
    return one | {f"ours {p}, whole grid": run(EPSILONS, p) for p in ("exact", "fast32", "fast")}


def _speed_table(seen: dict[str, list[Measured]]) -> None:
    unit = median([m.wall_s for m in seen["torchattacks, one ε"][1:] or seen["torchattacks, one ε"]])
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


def _ten_runs(subject: Subject, images: torch.Tensor, labels: torch.Tensor, seen: dict[str, list[Measured]]) -> None:
    """Ten ε by torchattacks really take ten times one ε; and `exact` equals all of them."""
    network, ends = subject.classifier.eval(), {}
    ten = measured(lambda: ends.update({e: _torchattacks(network, images, labels, e) for e in EPSILONS}))
    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
    ours = aa.sweep(subject.classifier, images, labels, attack, EPSILONS, precision="exact")
    with torch.no_grad():
        theirs = torch.stack([network(ends[e]) for e in EPSILONS])
    equal = torch.equal(theirs, torch.from_numpy(ours.logits[:, -1]).contiguous())
    one = median([m.wall_s for m in seen["torchattacks, one ε"]])
    say(
        f"\nTen ε by torchattacks: {ten.wall_s:.1f} s = {ten.wall_s / one:.2f} × one ε. Final logits of ours `exact` "
        f"{'equal' if equal else 'DIFFER FROM'} theirs bit for bit; {ours.cost.gradient_evaluations / len(images):.0f} "
        "gradients an image instead of 200."
    )


def _first_success(subject: Subject, images: torch.Tensor, labels: torch.Tensor) -> None:
    """First-success curves: every trajectory ends at its first success."""
    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
    found: dict[str, aa.Sweep] = {}

    def run() -> None:
        args = (subject.classifier, images, labels, attack, EPSILONS)
        found["short"] = aa.sweep(*args, precision="fast", first_success_only=True)

    ours = measured(run)
    theirs = measured(lambda: _torchattacks(subject.classifier.eval(), images, labels, 0.02))
    share = found["short"].attack_success_rate("any")[:, -1].mean()
    say(
        f"\nFirst success only (`fast`): {ours.wall_s:.1f} s = {len(EPSILONS) * theirs.wall_s / ours.wall_s:.1f} × "
        f"torchattacks, where {share:.0%} of (image, ε) fall; "
        f"{found['short'].cost.gradient_evaluations / len(images):.0f} gradients an image."
    )


def _overhead(subject: Subject, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Wall time outside network passes: guards are counted as overhead, passes asked for by the grid are not."""
    from advassay.attacks import network as passes

    spent = [0.0]
    originals = passes.Network.gradient, passes.Network.score

    def timed(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: passes.Network, *args: object) -> object:
            result: list[object] = []
            spent[0] += measured_quick(lambda: result.append(method(self, *args)))
            return result[0]

        return call

    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)
    passes.Network.gradient, passes.Network.score = (timed(m) for m in originals)  # type: ignore[method-assign]
    try:
        for precision in ("exact", "fast"):
            spent[0] = 0.0
            whole = measured_quick(
                lambda p=precision: aa.sweep(subject.classifier, images, labels, attack, EPSILONS, precision=p)
            )
            say(f"Scheduling, recording, guards and rewriting, `{precision}`: {1 - spent[0] / whole:.1%} of wall time.")
    finally:
        passes.Network.gradient, passes.Network.score = originals  # type: ignore[method-assign]


def measured_quick(call: Callable[[], object]) -> float:
    import time

    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _memory(most: int) -> None:
    """Peak memory of a stream over a small network, from 64 images to `most`."""
    from advassay.attacks import Item, choose_compute_shape
    from advassay.attacks.stream import stream

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 31 * 31, 2)
    )
    classifier = aa.Classifier(network.eval())
    arm = aa.Arm(epsilons=(0.02, 0.1, 0.2), steps=5, precision="fast32")
    points = frozenset(("0.01", e) for e in arm.epsilons)
    example = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)).numpy()
    shape = choose_compute_shape(classifier, example, precision="fast32", most=16)
    rows = []
    for count in sorted({64, most // 8, most}):
        items = (Item(str(i), _noise(i), i % 2, points) for i in range(count))
        used = measured(lambda it=items: [None for _ in stream(classifier, it, arm, shape=shape)])
        rows.append([str(count), f"{used.peak_mib:.0f}", f"{used.wall_s:.1f}"])
    say("\n" + table(["images streamed", "peak MiB", "wall s"], rows))


def _noise(index: int):
    return torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(index)).numpy()


if __name__ == "__main__":
    main()
