"""Queries to success: how many images a search has not misled yet after so many queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.intervals import counts, intervals
from advassay.analysis.outcome_arrays import load_outcomes, runs_of, step_sizes
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records
from advassay.spec.attack_components import UPDATE_RULES

MOST_POINTS = 60
"""Numbers of queries that a curve is told at: every one that some image took, or as many of them evenly spread."""


def query_survival(records: Records, *, level: float = 0.95) -> pl.DataFrame:
    """Share of attackable images that a search has not misled with so many queries (Kaplan & Meier 1958; every image is
    followed to the end of its search, after which nothing more is asked).

    Of the main networks' runs of searches that use the network's answers alone (Square, HopSkipJump): an image is
    misled at ε with the first misclassified point within ε. Columns: cohort, arm, epsilon, queries, surviving, low,
    high, n, events (misled by then), patients, method, median (queries by which half are misled: "40", or "> 500").
    Empty where no arm is such a search, or none that counted queries.
    """
    rows = [
        row
        for arm in records.arms
        for run in runs_of(records, arm)
        if (queries := _queries(run)) is not None
        for name in step_sizes(run)
        for row in _curves(run, queries, name, level)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _queries(run: Run) -> np.ndarray | None:
    """(row,) queries up to the first success, all of the search's where there is none; None where the rule is no such
    search, or did not count them."""
    rule = UPDATE_RULES.find(str(run.header.attack.get("update")))
    if rule is None or rule.knowledge == "white box":
        return None
    first = run.column("queries_to_success")
    if not rule.ends_at_success and not first.any():
        return None
    return np.where(first > 0, first, run.column("forward_passes"))


def _budget(run: Run) -> int:
    """Queries of an image at most: those declared, or what the longest search took."""
    rule = UPDATE_RULES.find(str(run.header.attack.get("update")))
    if rule is not None and rule.ends_at_success:
        return int(run.header.attack["steps"])
    return int(run.column("forward_passes").max())


def _curves(run: Run, first: np.ndarray, step_size: str, level: float) -> list[dict[str, Any]]:
    pack, budget = load_outcomes(run, step_size), _budget(run)
    ids = run.images["image_id"].to_list()
    place = {image_id: i for i, image_id in enumerate(pack.image_ids)}
    found = []
    for (name, epsilon), rows in run.index.points().items():
        if name != step_size or epsilon <= 0:
            continue
        at, queries = pack.at(epsilon), np.zeros(len(pack.image_ids), np.int64)
        for image, count in zip(run.index.image[rows], first[rows], strict=True):
            queries[place[ids[image]]] = count
        misled = pack.last[at, -1]
        taken = np.unique(queries[misled & pack.attackable[at]])
        if len(taken) > MOST_POINTS:
            taken = taken[np.linspace(0, len(taken) - 1, MOST_POINTS).astype(int)]
        grid = np.unique(np.r_[0, taken, budget])
        events = misled[None] & (queries[None] <= grid[:, None])
        points = counts(events, np.repeat(pack.attackable[at][None], len(grid), axis=0), pack.patients)
        low, high, method = intervals(points, level)
        half = grid[points.rate >= 0.5]
        for k, number in enumerate(grid.tolist()):
            found.append(
                {"cohort": run.header.cohort, "arm": run.header.arm, "epsilon": epsilon, "queries": number,
                 "surviving": float(1 - points.rate[k]), "low": float(1 - high[k]), "high": float(1 - low[k]),
                 "n": int(points.n[k]), "events": int(points.total[k]), "patients": int(points.patients[k]),
                 "method": method[k], "median": str(half[0]) if half.size else f"> {budget}"}
            )  # fmt: skip
    return found
