"""Sentences that every caption needs: which attack, which reading, how many images, which intervals."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from advassay.records.header import RunHeader
from advassay.report.wording import count, listed

LAST = "Success is judged at the last iterate; images misclassified without an attack are left out of both counts."


def attack(headers: Iterable[RunHeader]) -> str:
    """The arm in words, e.g. "Arm A: projected-sign, cross-entropy loss, L∞, step 0.01, 20 iterations"."""
    runs = list(headers)
    rules = runs[0].attack
    norm = {"linf": "L∞", "l2": "L2"}.get(str(rules.get("norm")), str(rules.get("norm")))
    start = ", random start" if rules.get("random_start") else ""
    aim = ", targeted" if rules.get("targeted") else ""
    steps = sorted({run.steps for run in runs})
    return (
        f"Arm {runs[0].arm}: {rules.get('update')}, {rules.get('loss')} loss, {norm}, "
        f"step {listed(step_sizes(runs[:1]))}, {listed([str(k) for k in steps])} iterations{start}{aim}"
    )


def step_sizes(headers: Iterable[RunHeader]) -> list[str]:
    """Step-size rules of the recorded points, in order, e.g. "0.01", "ε/4"."""
    rules = (point.step_size.replace("epsilon", "ε") for header in headers for point in header.points)
    return list(dict.fromkeys(rules))


def sample(frame: pl.DataFrame) -> str:
    """How many images a point rests on, e.g. "n = 70–87 images of 25–40 patients at each point".

    Patients are not spoken of where each image counts as its own: none may be known.
    """
    known = frame.filter(pl.col("patients").is_not_null())
    patients = "" if (known["n"] == known["patients"]).all() else f" of {span(known['patients'])} patients"
    where = " where patients are known" if patients and len(known) < len(frame) else ""
    return f"n = {span(frame['n'])} images{patients}{where} at each point"


def intervals(frame: pl.DataFrame, level: float) -> str:
    """How the intervals were made, with the number of points for each method."""
    used = frame.filter(pl.col("n") > 0).group_by("method", maintain_order=True).len().sort("len", descending=True)
    methods = [f"{method} ({n})" if len(used) > 1 else method for method, n in used.iter_rows()]
    return f"{100 * level:g} % intervals: {listed(methods)}"


def span(values: pl.Series) -> str:
    """Smallest and largest of some counts, e.g. "7–15"; one number where they agree."""
    numbers = values.to_list()
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)}–{count(high)}"
