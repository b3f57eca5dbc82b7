"""What the step size does to a success curve, on trained networks of a store.

    python -m benchmarks.step_size runs/phantoms runs/public --cohorts X-AO X-TB H-LN -o docs/explanation

Prints the tables of docs/explanation/step-size.md and draws its figures: success over ε for absolute and relative
steps, at the last and at any iterate; the raw gradient of the probability at several gains; and success by clean
confidence for each update and loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl

import advassay as aa
from advassay.spec.attack_spec import PGD
from advassay.success import has_succeeded
from benchmarks.drawing import save, small_multiples
from benchmarks.measuring import machine, note, say, table
from benchmarks.networks import Trained, networks

EPSILONS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
STEPS = 20
SIGN_STEPS: list[float | str] = [0.0025, 0.005, 0.01, 0.02, "epsilon/10", "epsilon/4"]
GAINS = [1.0, 10.0, 100.0, 1000.0]
CONFIDENT = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--cohorts", nargs="*")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--confident", type=int, default=60, help="images of the table by clean confidence")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/explanation"))
    options = parser.parse_args()
    signs, gains = [], []
    for network in networks(options.stores, options.cohorts, max(options.images, options.confident)):
        few = network.first(options.images)
        signs.append(_curves(few, PGD(0.02, steps=STEPS), SIGN_STEPS))
        raw = PGD(0.02, 1.0, steps=STEPS, update="projected-gradient", loss="probability")
        gains.append(_curves(few, raw, list(GAINS)))
        _by_confidence(network.first(options.confident))
    for frame, name, title in (
        (pl.concat(signs), "step-size-sign", "step"),
        (pl.concat(gains), "step-size-gain", "gain"),
    ):
        _print(frame, title)
        save(_figure(frame, title), options.output / f"{name}.svg")
    say("\n" + machine())


def _curves(network: Trained, attack: PGD, step_sizes: list[float | str]) -> pl.DataFrame:
    note(f"{network.name}: {attack.update}, {attack.loss}")
    swept = aa.sweep(network.classifier, network.images, network.labels, attack, EPSILONS, step_sizes)
    frames = []
    for reading in ("last", "any"):
        rate = swept.attack_success_rate(reading)[..., -1]
        for i, step in enumerate(swept.step_sizes or ()):
            frames.append(
                pl.DataFrame({"epsilon": EPSILONS, "rate": rate[i]}).with_columns(
                    network=pl.lit(network.name), step=pl.lit(step), reading=pl.lit(reading)
                )
            )
    return pl.concat(frames)


def _print(frame: pl.DataFrame, title: str) -> None:
    for (network, reading), part in frame.group_by(["network", "reading"], maintain_order=True):
        rows = [
            [str(step), *(f"{rate:.0%}" for rate in own["rate"])]
            for (step,), own in part.group_by(["step"], maintain_order=True)
        ]
        say(f"\n{network}, {reading} iterate\n")
        say(table([f"{title} \\ ε", *map(str, EPSILONS)], rows))


def _by_confidence(network: Trained) -> None:
    """Success at ε 0.02 below and above the confidence of conclusion 4, by update, loss and step."""
    high = network.clean_confidence > CONFIDENT
    rows = []
    for update, loss, step in (
        ("projected-gradient", "probability", 100.0),
        ("projected-gradient", "cross-entropy", 100.0),
        ("projected-sign", "cross-entropy", 0.01),
        ("projected-sign", "cross-entropy", "epsilon/4"),
        ("projected-sign", "margin", "epsilon/4"),
    ):
        attack = PGD(0.02, step, steps=STEPS, update=update, loss=loss)
        swept = aa.sweep(network.classifier, network.images, network.labels, attack, [0.02])
        down = {reading: has_succeeded(swept.logits, network.labels, reading)[0, -1] for reading in ("last", "any")}
        still = swept.flags["zero_gradient"][0] | swept.flags["saturated"][0]
        rows.append(
            [
                f"{update}, {loss}, {step}",
                *(_share(down[r][side]) for r in ("last", "any") for side in (~high, high)),
                f"{int((still & high).sum())}",
            ]
        )
    say(f"\n{network.name}: {len(high)} images, {int(high.sum())} above clean confidence {CONFIDENT}; ε 0.02\n")
    sides = [f"{r}, {s} {CONFIDENT}" for r in ("last", "any") for s in ("≤", ">")]
    say(table(["update, loss, step", *sides, "confident and saturated or without gradient"], rows))


def _share(down: np.ndarray) -> str:
    return f"{down.mean():.0%} of {len(down)}" if len(down) else "none"


def _figure(frame: pl.DataFrame, title: str) -> alt.TopLevelMixin:
    order = list(dict.fromkeys(frame["step"]))
    return small_multiples(
        frame,
        x=alt.X("epsilon:Q", title="ε", scale=alt.Scale(type="log"), axis=alt.Axis(values=EPSILONS, format="~g")),
        y=alt.Y("rate:Q", title="attack success rate", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        colour=alt.Color("step:N", title=title, sort=order),
        dash=alt.StrokeDash("reading:N", title="iterate", sort=["last", "any"]),
        column="network",
    )


if __name__ == "__main__":
    main()
