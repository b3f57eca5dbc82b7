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
    followed to the search's budget).

    Of the main networks' runs of arms whose rule stops at an image's first success (`ends_at_success`): what they
    record of an image is then its queries to success. Columns: cohort, arm, epsilon, queries, surviving, low, high, n,
    events (misled by then), patients, method, median (queries by which half are misled: "40", or "> 500"). Empty where
    no arm is such a search.
    """
    rows = [
        row
        for arm in records.arms
        for run in runs_of(records, arm)
        if _ends_at_success(run)
        for name in step_sizes(run)
        for row in _curves(run, name, level)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _ends_at_success(run: Run) -> bool:
    rule = UPDATE_RULES.find(str(run.header.attack.get("update")))
    return rule is not None and rule.ends_at_success


def _curves(run: Run, step_size: str, level: float) -> list[dict[str, Any]]:
    pack, passes, budget = load_outcomes(run, step_size), run.column("forward_passes"), int(run.header.attack["steps"])
    ids = run.images["image_id"].to_list()
    place = {image_id: i for i, image_id in enumerate(pack.image_ids)}
    found = []
    for (name, epsilon), rows in run.index.points().items():
        if name != step_size or epsilon <= 0:
            continue
        at, queries = pack.at(epsilon), np.zeros(len(pack.image_ids), np.int64)
        for image, count in zip(run.index.image[rows], passes[rows], strict=True):
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
