"""What the three readings of the paper's update do to the same images, on trained networks of a store.

    python -m benchmarks.update_rules runs/phantoms runs/public --cohorts X-TB H-BR -o docs/explanation

Prints the tables of docs/explanation/update-rules.md and draws its figures: displacement, share of pixels on the
boundary and success over iterations and ε, for literal, projected-gradient and projected-sign.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl

import advassay as aa
from advassay.spec.attack_spec import PGD
from benchmarks.drawing import save, small_multiples
from benchmarks.measuring import machine, note, say, table
from benchmarks.networks import Trained, networks

EPSILONS = [1e-6, 1e-5, 1e-4, 0.001, 0.02, 0.1, 0.2]
"""Down to the size of a gradient's values, where `literal` begins to clip."""
SHOWN = 0.02
STEPS = 20
RULES: tuple[tuple[str, str, float], ...] = (
    ("literal", "probability", 100.0),
    ("projected-gradient", "probability", 100.0),
    ("projected-sign", "probability", 0.01),
)
QUANTITIES = {"linf": "‖δ‖∞", "l2": "‖δ‖₂", "boundary_share": "on the boundary", "success": "success"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--cohorts", nargs="*")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/explanation"))
    options = parser.parse_args()
    frames = [_sweeps(network) for network in networks(options.stores, options.cohorts, options.images)]
    frame = pl.concat(frames)
    _print(frame)
    save(_over_steps(frame), options.output / "update-rules-steps.svg")
    save(_over_epsilon(frame), options.output / "update-rules-epsilon.svg")
    say("\n" + machine())


def _sweeps(network: Trained) -> pl.DataFrame:
    """Median over images of each quantity, and the success rate, for rule × ε × step."""
    frames = []
    for update, loss, step in RULES:
        note(f"{network.name}: {update}")
        attack = PGD(SHOWN, step, steps=STEPS, update=update, loss=loss)  # type: ignore[arg-type]
        swept = aa.sweep(network.classifier, network.images, network.labels, attack, EPSILONS)
        values = {name: np.median(getattr(swept, name), axis=-1) for name in ("linf", "l2", "boundary_share")}
        values["success"] = swept.attack_success_rate("last")
        gradient = np.nanmedian(swept.gradient_norm[0, 0])
        epsilon, steps = np.meshgrid(EPSILONS, np.arange(STEPS + 1), indexing="ij")
        frames.append(
            pl.DataFrame(
                {"epsilon": epsilon.ravel(), "step": steps.ravel()} | {k: v.ravel() for k, v in values.items()}
            ).with_columns(
                network=pl.lit(network.name),
                rule=pl.lit(f"{update}, {step:g}"),
                clean_gradient_norm=pl.lit(float(gradient)),
            )
        )
    return pl.concat(frames)


def _print(frame: pl.DataFrame) -> None:
    for (network,), part in frame.group_by(["network"], maintain_order=True):
        norm = part["clean_gradient_norm"][0]
        say(f"\n{network}: after {STEPS} iterations; median gradient norm at the clean images {norm:.2g}\n")
        ends = part.filter(pl.col("step") == STEPS)
        rows = [
            [
                *(row["rule"], f"{row['epsilon']:g}", f"{row['linf']:.2g}", f"{row['l2']:.2g}"),
                *(f"{row['boundary_share']:.0%}", f"{row['success']:.0%}"),
            ]
            for row in ends.iter_rows(named=True)
        ]
        say(table(["rule, step", "ε", *QUANTITIES.values()], rows))


def _over_steps(frame: pl.DataFrame) -> alt.TopLevelMixin:
    long = frame.filter(pl.col("epsilon") == SHOWN).unpivot(
        list(QUANTITIES), index=["network", "rule", "step"], variable_name="quantity", value_name="value"
    )
    return _panels(long, alt.X("step:Q", title=f"iteration (ε = {SHOWN})"))


def _over_epsilon(frame: pl.DataFrame) -> alt.TopLevelMixin:
    long = frame.filter(pl.col("step") == STEPS).unpivot(
        list(QUANTITIES), index=["network", "rule", "epsilon"], variable_name="quantity", value_name="value"
    )
    axis = alt.Axis(values=EPSILONS, format="~g")
    return _panels(long, alt.X("epsilon:Q", title="ε", scale=alt.Scale(type="log"), axis=axis))


def _panels(long: pl.DataFrame, x: alt.X) -> alt.TopLevelMixin:
    named = long.with_columns(pl.col("quantity").replace_strict(QUANTITIES))
    drawn = small_multiples(
        named,
        x=x,
        y=alt.Y("value:Q", title=None),
        colour=alt.Color("rule:N", title="update, step", sort=list(dict.fromkeys(long["rule"]))),
        column="network",
        row="quantity",
    )
    return drawn.resolve_scale(y="independent")


if __name__ == "__main__":
    main()
