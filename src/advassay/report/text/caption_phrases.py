"""Sentences that every caption needs: which attack, which reading, how many images, which intervals."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from advassay.records.run_header import RunHeader
from advassay.report.text.number_format import count, listed
from advassay.success import Reading

WHEN: dict[Reading, str] = {"last": "after the last iteration", "any": "at any iteration up to the last"}
"""Reading → when an image counts as misclassified."""
JUDGED: dict[Reading, str] = {
    "last": "Success is judged at the last iterate (reading: last)",
    "any": "An image counts from the first iterate that misclassifies it (reading: any)",
}
OVER_ITERATIONS: dict[Reading, str] = {
    "last": "each iterate judged by itself (reading: last)",
    "any": "an image counting from the first iterate that misclassifies it (reading: any)",
}


def reading(success: Reading) -> str:
    """How success is read, and which images count."""
    return f"{JUDGED[success]}; images misclassified without an attack are left out of both counts."


def attack(headers: Iterable[RunHeader], step_size: str | None = None) -> str:
    """The arm in words, e.g. "Arm A: projected-sign, cross-entropy loss, L∞, step 0.01, 20 iterations".

    `step_size`: the one that is shown, where it is one of several; None = all are.
    """
    runs = list(headers)
    sizes = step_sizes(runs[:1])
    shown = None if step_size is None else step_size.replace("epsilon", "ε")
    step = listed(sizes) if shown is None or sizes == [shown] else f"{shown} (of {listed(sizes)})"
    rules = runs[0].attack
    norm = {"linf": "L∞", "l2": "L2"}.get(str(rules.get("norm")), str(rules.get("norm")))
    start = ", random start" if rules.get("random_start") else ""
    aim = ", targeted" if rules.get("targeted") else ""
    steps = sorted({run.steps for run in runs})
    return (
        f"Arm {runs[0].arm}: {rules.get('update')}, {rules.get('loss')} loss, {norm}, "
        f"step {step}, {listed([str(k) for k in steps])} iterations{start}{aim}"
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
