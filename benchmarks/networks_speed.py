"""Our engine beside torchattacks on the networks that people attack, and what the engine itself costs.

    python -m benchmarks.networks_speed            # under 25 minutes on 2 idle cores; prints tables
    python -m benchmarks.networks_speed --quick    # seconds: three small networks, one round

The study's grid: ε 0.02 … 0.20, step 0.01, 20 iterations, L∞ sign, cross-entropy, no random start. torchattacks runs
one ε in batches of 32 and counts ten times; we run the grid and record every iterate. Every contender has a process of
its own and rounds are interleaved. Ratios are to torchattacks, of the second and later calls; the first call, which
examines the network, builds its surrogate and measures whether that pays, is shown apart. Networks are trained for a
few updates (kept in runs/bench), so that their gradients are not chaos, and attacked from the classes they predict.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

import advassay as aa
from benchmarks.apart import Apart, Runs
from benchmarks.measuring import Measured, machine, note, say, table

EPSILONS = [0.02 * i for i in range(1, 11)]
STEP, STEPS, PEER_BATCH = 0.01, 20, 32
PRECISIONS = ("exact", "fast32", "fast")
PEER = "torchattacks, one ε"


class Network(NamedTuple):
    """A network by its name in timm ("small CNN": two convolutions), and what it is shown."""

    name: str
    side: int
    channels: int
    images: int

    @property
    def title(self) -> str:
        return f"{self.name}, {self.side}"


NETWORKS = (
    Network("small CNN", 28, 1, 512),
    Network("resnet18", 28, 3, 64),
    Network("resnet18", 64, 3, 32),
    Network("resnet18", 224, 3, 8),
    Network("vit_tiny_patch16_224", 224, 3, 8),
    Network("densenet121", 224, 3, 4),
    Network("convnext_tiny", 224, 3, 4),
    Network("efficientnet_b0", 224, 3, 8),
    Network("inception_v3", 256, 3, 4),
)
QUICK = (Network("small CNN", 28, 1, 64), Network("resnet18", 28, 3, 8), Network("resnet18", 64, 3, 4))


def main() -> None:
    options = _options()
    if options.engine:
        _engine_cost(256 if options.quick else 2048)
        say("\n" + machine())
        return
    chosen = QUICK if options.quick else NETWORKS
    if options.networks:
        chosen = tuple(n for n in chosen if any(word in n.title for word in options.networks))
    if not chosen:
        raise SystemExit(f"--networks: parts of these names are needed: {', '.join(n.title for n in NETWORKS)}")
    rows, notes = [], []
    for network in chosen:
        row, remarks = _compare(network, options.rounds)
        rows.append(row)
        notes += remarks
        note(" | ".join(row))
    header = ["network, side", "images", "torchattacks, 10 ε, s", *PRECISIONS, "sharing alone", "first calls, s"]
    say(table(header, rows))
    say("\nRatios to torchattacks. " + " ".join(notes))
    _engine_cost(256 if options.quick else 2048)
    if options.stream:
        _stream(options.stream)
    say("\n" + machine("torchattacks", "timm"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", help="parts of names, such as resnet18 or 224; all by default")
    parser.add_argument("--quick", action="store_true", help="three small networks, one round")
    parser.add_argument("--engine", action="store_true", help="only what the engine itself costs")
    parser.add_argument("--rounds", type=int, default=None, help="calls after the first (3)")
    parser.add_argument("--stream", type=int, default=0, metavar="N", help="also N images of 28 × 28 as a stream")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


UPDATES, TRAINED_BATCH = 30, 8


def _images(network: Network, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images in [0, 1], and whether the left half is the brighter one."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, network.channels, 7, 7, generator=generator)
    images = nn.functional.interpolate(coarse, (network.side, network.side), mode="bilinear")
    half = network.side // 2
    return images, (images[..., :half].mean((1, 2, 3)) > images[..., -half:].mean((1, 2, 3))).long()


def _module(network: Network) -> nn.Module:
    torch.manual_seed(0)
    if network.name != "small CNN":
        import timm

        return timm.create_model(network.name, num_classes=2, in_chans=network.channels)
    return nn.Sequential(
        nn.Conv2d(network.channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * (network.side // 4) ** 2, 2),
    )  # fmt: skip


def _train(network: Network) -> None:
    """Train the network for a few updates and keep its weights, unless they are there."""
    path = _weights(network)
    if path.exists():
        return
    note(f"training {network.title}, {UPDATES} updates")
    module = _module(network).train()
    optimiser = torch.optim.Adam(module.parameters(), 3e-4)
    for update in range(UPDATES):
        images, labels = _images(network, TRAINED_BATCH, seed=1000 + update)
        loss = nn.functional.cross_entropy(module(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)


def _weights(network: Network) -> Path:
    return Path("runs/bench/networks") / f"{network.name}-{network.side}-{UPDATES}.pt".replace(" ", "-")


def _build(network: Network) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The trained network in eval mode, images in [0, 1], and the classes that it predicts."""
    module = _module(network)
    module.load_state_dict(torch.load(_weights(network), weights_only=True))
    module.eval()
    images, _ = _images(network, network.images, seed=1)
    with torch.no_grad():
        labels = torch.cat([module(batch).argmax(1) for batch in images.split(PEER_BATCH)])
    for weight in module.parameters():
        weight.requires_grad_(False)
    return module, images, labels


def _peer_runs(network: Network) -> Runs:
    import torchattacks

    module, images, labels = _build(network)
    attack = torchattacks.PGD(module, eps=0.02, alpha=STEP, steps=STEPS, random_start=False)

    def run() -> None:
        for x, y in zip(images.split(PEER_BATCH), labels.split(PEER_BATCH), strict=True):
            attack(x, y)

    return {PEER: run}


def _our_runs(network: Network, precision: str) -> Runs:
    aa.tune_process()
    module, images, labels = _build(network)
    classifier = aa.Classifier(module)
    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)

    def run() -> tuple[float, list[str]]:
        """Gradients an image, and what was set aside."""
        warnings.simplefilter("ignore", aa.errors.AttackWarning)  # an untrained network is a doubtful one
        found = aa.sweep(classifier, images, labels, attack, EPSILONS, precision=precision)
        aside = [each.split(":")[1].strip() for each in found.notes if each.startswith("set aside")]
        return found.cost.gradient_evaluations / len(labels), aside

    return {precision: run}


def _compare(network: Network, rounds: int) -> tuple[list[str], list[str]]:
    """A line of the table, and what was set aside."""
    _train(network)
    contenders = {PEER: Apart(_peer_runs, network)} | {p: Apart(_our_runs, network, p) for p in PRECISIONS}
    seen: dict[str, list[Measured]] = defaultdict(list)
    given: dict[str, Any] = {}
    for _ in range(1 + rounds):
        for name, contender in contenders.items():
            took, given[name] = contender.run(name)
            seen[name].append(took)
    for contender in contenders.values():
        contender.end()
    wall = {name: median(m.wall_s for m in times[1:]) for name, times in seen.items()}
    ten = len(EPSILONS) * wall[PEER]
    gradients = given["exact"][0]
    row = [
        network.title,
        str(network.images),
        f"{ten:.3g}",
        *(f"{ten / wall[p]:.2f}" for p in PRECISIONS),
        f"{len(EPSILONS) * STEPS / gradients:.2f}",
        ", ".join(f"+{seen[p][0].wall_s - wall[p]:.2g}" for p in PRECISIONS),
    ]
    remarks = [f"{network.title}, {p}: {', '.join(given[p][1])} set aside." for p in PRECISIONS if given[p][1]]
    return row, remarks


# ---- the engine itself ----------------------------------------------------------------------------------------------


def _engine_cost(images: int) -> None:
    """Gradients a second and core through a network that costs nothing, and where the time goes."""
    for batch_size in (32, 256):
        apart = Apart(_null_runs, images, batch_size)
        apart.run("plain")
        plain = [apart.run("plain") for _ in range(3)]
        _, parts = apart.run("parts")
        apart.end()
        gradients, recorded = plain[0][1]
        seconds = median(m.wall_s for m, _ in plain)
        say(
            f"\nThe engine alone (Flatten + Linear, 8 × 8, exact, batches of {batch_size}, one thread): "
            f"{gradients / seconds:,.0f} gradients and {recorded / seconds:,.0f} recorded iterates a second."
        )
        say(table(["where", "share of the time"], [[name, f"{share:.0%}"] for name, share in parts.items()]))


def _null_runs(images: int, batch_size: int) -> Runs:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classifier = aa.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval())
    x = torch.rand(images, 1, 8, 8)
    y = classifier(x).argmax(1)
    attack = aa.PGD(epsilon=0.02, step_size=STEP, steps=STEPS)

    def run() -> tuple[int, int]:
        found = aa.sweep(classifier, x, y, attack, EPSILONS, batch_size=batch_size, precision="exact")
        return found.cost.gradient_evaluations, found.gradient_norm.size

    return {"plain": run, "parts": partial(_parts, run)}


def _parts(run: Callable[[], object]) -> dict[str, float]:
    """What shares of a run its parts take; each is timed without those inside it that are listed too."""
    from advassay.attacks.attack_step import GradientModel
    from advassay.attacks.engine import scheduler as s
    from advassay.attacks.stream import AttackStream

    watched: list[tuple[str, Any, str]] = [
        ("the network's passes", GradientModel, "gradient"),
        ("the network's passes", GradientModel, "score"),
        ("batches put together", s.BatchScheduler, "_gradients"),
        ("batches put together", s.BatchScheduler, "_visit"),
        ("queues", s.BatchScheduler, "_pick"),
        ("queues", s.IterateQueues, "put"),
        ("rows parted", s, "split_by_projection"),
        ("projection and measurement", s.BatchScheduler, "_advance"),
        ("recording", s.BatchScheduler, "_record"),
        ("ends and SSIM", s.RowEndings, "end"),
        ("images in", AttackStream, "_add"),
        ("images out", s.BatchScheduler, "collect"),
        ("other steps", s.BatchScheduler, "_gradient_step"),
    ]
    spent: dict[str, float] = defaultdict(float)
    inside = [0.0]

    def timed(label: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **options: object) -> object:
            outer, inside[0] = inside[0], 0.0
            began = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                took = time.perf_counter() - began
                spent[label] += took - inside[0]
                inside[0] = outer + took

        return wrapped

    originals = [(where, name, getattr(where, name)) for _, where, name in watched]
    for label, where, name in watched:
        setattr(where, name, timed(label, getattr(where, name)))
    try:
        began = time.perf_counter()
        run()
        whole = time.perf_counter() - began
    finally:
        for where, name, call in originals:
            setattr(where, name, call)
    spent["the rest"] = whole - sum(spent.values())
    return {name: seconds / whole for name, seconds in spent.items()}


def _stream(images: int) -> None:
    """So many small images through the small CNN: seconds and memory, beside torchattacks over the same."""
    network = Network("small CNN", 28, 1, images)
    _train(network)
    few = Apart(_our_runs, network._replace(images=images // 8), "exact")
    part, _ = few.run("exact")
    few.end()
    ours, peer = Apart(_our_runs, network, "exact"), Apart(_peer_runs, network)
    whole, _ = ours.run("exact")
    theirs, _ = peer.run(PEER)
    ours.end()
    peer.end()
    say(
        f"\n{images} images of 28 × 28, small CNN, whole grid, first call: {whole.wall_s:.1f} s, "
        f"{len(EPSILONS) * theirs.wall_s / whole.wall_s:.2f} × torchattacks; {whole.peak_mib:.0f} MiB at most "
        f"({part.peak_mib:.0f} MiB for {images // 8})."
    )


if __name__ == "__main__":
    main()
