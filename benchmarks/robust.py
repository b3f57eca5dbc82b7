"""Our attacks on networks whose robust accuracy is published or verified.

    export ADVASSAY_DATA=../data
    python -m benchmarks.robust             # first 1,000 test images (200 for the slowest), about 13 minutes on 2 cores
    python -m benchmarks.robust --full      # all 10,000 test images
    python -m benchmarks.robust --full --only ", PGD"  # only rows that contain the text, as "network, attack"
    python -m benchmarks.robust --images 20 # seconds, only to see that it runs
    python -m benchmarks.robust --suite     # the worst-case suite on the first 24 images of two networks

Never below what was formally verified; within 1 point of what the same kind of attack was published to reach on the
same images. With fewer images the published figure (of all 10,000) is beside, and the comparison is only rough.
"""

from __future__ import annotations

import argparse
import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import advassay as aa
from benchmarks.measuring import machine, note, say, table


def _mnist_cnn_a() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def _cifar_cnn_a() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def _trades() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1024, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10),
    )  # fmt: skip


def _lenet5() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 200), nn.ReLU(), nn.Linear(200, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One attack on one network, and what others found."""

    network: str
    attack: str
    images: int
    """Test images the published figure is about, from the first."""
    published: float
    """Robust accuracy in %."""
    kind: str
    """same = the same kind of attack (ours must be within 1 point); verified = no attack can go below; beside."""


@dataclass(frozen=True)
class Subject:
    build: Callable[[], nn.Sequential]
    epsilon: float
    clean: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


SUBJECTS = {
    "trades_mnist": Subject(_trades, 0.3, 99.48),
    "advertorch_lenet5_adv": Subject(_lenet5, 0.3, 98.64),
    "convex_mnist_0_1": Subject(_mnist_cnn_a, 0.1, 98.2),
    "sdp_mnist_cnn_a_adv": Subject(_mnist_cnn_a, 0.3, 96.33),
    "sdp_cifar_cnn_a_adv": Subject(
        _cifar_cnn_a,
        2 / 255,
        65.65,
        tuple(x / 255 for x in (125.3, 123.0, 113.9)),
        tuple(x / 255 for x in (63.0, 62.1, 66.7)),
    ),
}

SUITE = (
    ("apgd-cross-entropy", {"update": "apgd", "loss": "cross-entropy", "steps": 20}),
    ("apgd-targeted", {"update": "apgd-targeted", "loss": "dlr", "steps": 10}),
    ("fab", {"update": "fab", "loss": "margin", "steps": 10}),
    ("square", {"update": "square", "loss": "margin", "steps": 300}),
    ("hopskipjump", {"update": "hopskipjump", "loss": "margin", "steps": 4}),
)
"""Those of `evaluate --preset full`, with shorter budgets."""
SUITE_NETWORKS = {"convex_mnist_0_1": (94.2, "verified"), "trades_mnist": (92.81, "AutoAttack")}
"""Robust accuracy on 10,000 test images in %, and what says so."""
SUITE_IMAGES, DECISION_IMAGES = 24, 4

CASES = [
    Case("trades_mnist", "PGD-40", 10_000, 96.07, "same"),
    Case("trades_mnist", "APGD-CE + targeted", 10_000, 92.81, "beside"),
    Case("advertorch_lenet5_adv", "PGD-40", 10_000, 93.2, "same"),
    Case("convex_mnist_0_1", "PGD-40", 10_000, 95.9, "same"),
    Case("convex_mnist_0_1", "APGD-CE + targeted", 10_000, 94.2, "verified"),
    Case("sdp_mnist_cnn_a_adv", "APGD-CE", 500, 74.2, "same"),
    Case("sdp_mnist_cnn_a_adv", "APGD-CE + targeted", 500, 72.0, "same"),
    Case("sdp_cifar_cnn_a_adv", "PGD-50", 1_000, 51.9, "same"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all the images that each published figure is about")
    parser.add_argument("--images", type=int, default=1000, help="at most this many without --full")
    parser.add_argument("--only", default="", metavar="TEXT", help='only rows that contain TEXT, as "network, attack"')
    parser.add_argument("--suite", action="store_true", help="the worst-case suite instead, on a few images")
    options = parser.parse_args()
    if options.suite:
        _suite(Path(os.environ.get("ADVASSAY_DATA", "../data")) / "robust")
        return
    cases = [case for case in CASES if options.only in f"{case.network}, {case.attack}"]
    if not cases:
        parser.error(f'--only: no row contains {options.only!r}; one is "{CASES[0].network}, {CASES[0].attack}"')
    data = Path(os.environ.get("ADVASSAY_DATA", "../data")) / "robust"
    rows = []
    for case in cases:
        n = case.images if options.full else min(case.images, options.images)
        classifier, images, labels = _load(data, case.network, n)
        note(f"{case.network}: {case.attack} on {n} images")
        clean = 100 * float((classifier(images).argmax(1) == labels).float().mean())
        robust = 100 * float(_stands(classifier, images, labels, case).mean())
        verdict = _verdict(case, robust, n)
        note(f"  {robust:.2f}% stand: {verdict}")
        rows.append(
            [case.network, case.attack, str(n), f"{clean:.2f}", f"{robust:.2f}", f"{case.published:.2f}", verdict]
        )
    say(table(["network", "attack", "images", "clean %", "robust %, ours", "published %", "verdict"], rows))
    if not options.only:
        say("\n" + _unsafe(data))
    say("\n" + machine())


def _suite(data: Path) -> None:
    """Every attack of the suite on the same images; how many stand under each, and under all of them together."""
    rows = []
    for name, (known, kind) in SUITE_NETWORKS.items():
        classifier, images, labels = _load(data, name, SUITE_IMAGES)
        correct = (classifier(images).argmax(1) == labels).numpy()
        standing = correct.copy()
        for attack, rules in SUITE:
            n = DECISION_IMAGES if attack == "hopskipjump" else SUITE_IMAGES
            note(f"{name}: {attack} on {n} images")
            found = aa.attack(
                classifier, images[:n], labels[:n], aa.PGD(SUBJECTS[name].epsilon, "epsilon/4", **rules), batch_size=32
            )
            wrong = (found.logits[-1].argmax(1) != labels[:n].numpy()) & correct[:n]
            alone = int((wrong & standing[:n]).sum())
            standing[:n] &= ~wrong
            passes = int(found.cost.forward_passes / n), int(found.cost.gradient_evaluations / n)
            rows.append([name, attack, str(n), str(int(wrong.sum())), str(alone), *map(str, passes), "", ""])
        share = standing.mean()
        half = 196 * np.sqrt(known / 100 * (1 - known / 100) / SUITE_IMAGES)
        verdict = f"{kind} {known}: {100 * share - known:+.1f} ± {half:.1f}"
        rows.append([name, "all", str(SUITE_IMAGES), str(int(correct.sum() - standing.sum())), "", "", "",
                     f"{100 * share:.1f}", verdict])  # fmt: skip
    heads = ["network", "attack", "images", "misclassified", "not by those above", "forward passes an image",
             "gradients an image", "robust %", "beside what is known"]  # fmt: skip
    say(table(heads, rows))
    say("\n" + machine())


def _load(data: Path, name: str, n: int) -> tuple[aa.Classifier, torch.Tensor, torch.Tensor]:
    subject = SUBJECTS[name]
    network = subject.build()
    network.load_state_dict(load_file(data / f"{name}.safetensors"))
    images, labels = _cifar(data) if "cifar" in name else _mnist(data)
    return aa.Classifier(network.eval(), subject.mean, subject.std).eval(), images[:n], labels[:n]


def _mnist(data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    with gzip.open(data / "mnist-t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(data / "mnist-t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return torch.from_numpy(pixels / np.float32(255)), torch.from_numpy(labels.astype(np.int64))


def _cifar(data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    arrays = dict(np.load(data / "cifar10_test_first1000.npz"))
    pixels = next(a for a in arrays.values() if a.ndim == 4)
    labels = next(a for a in arrays.values() if a.ndim == 1)
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) / np.float32(255))
    return images, torch.from_numpy(labels.astype(np.int64))


def _stands(classifier: aa.Classifier, images: torch.Tensor, labels: torch.Tensor, case: Case) -> np.ndarray:
    """Images classified correctly before and after the attack, (image,)."""
    epsilon = SUBJECTS[case.network].epsilon
    if case.attack.startswith("PGD"):
        steps = int(case.attack.split("-")[1])
        step = epsilon / 4 if "cifar" in case.network else 0.01
        t = aa.attack(classifier, images, labels, aa.PGD(epsilon, step, steps=steps), batch_size=100)
        return t.logits[-1].argmax(1) == labels.numpy()
    stands = _apgd(classifier, images, labels, epsilon, np.ones(len(labels), bool), targets=None)
    if "targeted" in case.attack:
        for rank in range(1, 10):
            order = classifier(images).detach().argsort(dim=1, descending=True)
            targets = torch.where(order[:, rank] == labels, order[:, 0], order[:, rank])
            stands = _apgd(classifier, images, labels, epsilon, stands, targets=targets)
    return stands


def _apgd(
    classifier: aa.Classifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    stands: np.ndarray,
    targets: torch.Tensor | None,
) -> np.ndarray:
    """APGD (100 steps) on the images that still stand: cross-entropy, or the targeted DLR loss towards `targets`."""
    left = np.flatnonzero(stands & (classifier(images).argmax(1) == labels).numpy())
    after = np.zeros(len(labels), bool)
    if len(left):
        loss = "cross-entropy" if targets is None else "dlr"
        attack = aa.PGD(epsilon, steps=100, update="apgd", loss=loss, random_start=True, targeted=targets is not None)
        goals = None if targets is None else targets[left]
        ids = [str(i) for i in left]
        t = aa.attack(classifier, images[left], labels[left], attack, image_ids=ids, targets=goals, batch_size=100)
        after[left] = (t.logits.argmax(-1) == labels[left].numpy()).all(axis=0)
    return after


def _verdict(case: Case, robust: float, n: int) -> str:
    """What the comparison shows; rough where fewer images were attacked than published about."""
    if n < case.images:
        half = 196 * (robust / 100 * (1 - robust / 100) / n) ** 0.5
        return f"only {n} of {case.images} images: {robust - case.published:+.2f} ± {half:.1f}"
    if case.kind == "verified":
        return "at or above what is verified" if robust >= case.published else "BELOW WHAT IS VERIFIED"
    if case.kind == "beside":
        return f"{robust - case.published:+.2f} (AutoAttack)"
    return "within 1 point or stronger" if robust <= case.published + 1 else "WEAKER BY MORE THAN 1 POINT"


def _unsafe(data: Path) -> str:
    """Images where gradient attacks fail and a solver found an adversarial example: ours are expected to fail too."""
    classifier, images, labels = _load(data, "sdp_mnist_cnn_a_adv", 10_000)
    index = [int(line) for line in (data / "sdp_mnist_cnn_a_adv.unsafe.txt").read_text().split()]
    case = Case("sdp_mnist_cnn_a_adv", "APGD-CE + targeted", len(index), 0.0, "beside")
    stands = _stands(classifier, images[index], labels[index], case)
    return (
        f"sdp_mnist_cnn_a_adv, {len(index)} images with a solver's adversarial example that gradient attacks were "
        f"published to miss: ours miss {int(stands.sum())}. A gradient attack bounds robustness from above only."
    )


if __name__ == "__main__":
    main()
