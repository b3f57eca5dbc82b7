"""At which amplitude do people see the attack? Share of right answers of a reader study, by ε.

Two images are shown, one of them attacked: who sees nothing is right in one half. Answers of one reader are not
independent, nor are those about one patient. The intervals are those of `intervals.py`, clustered by patient and, with
two readers or more, by reader; of the two the lower lower end and the higher upper end are given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.intervals import checked_level, counts, intervals
from advassay.records.store_reader import Records

CHANCE = 0.5


def reader_detection(records: Records, answers: pl.DataFrame, *, level: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Columns: cohort, epsilon, rate, low, high (right answers to "which one was changed?"), diagnosis_rate,
    diagnosis_low, diagnosis_high (right answers to "which class?"), n, events, readers, patients, seconds (median),
    method. One row per cohort and ε; empty without answers. `answers`: records.reader_answers.COLUMNS.
    """
    checked_level(level)
    rows = [
        _at(records, part, level, seed) | {"cohort": cohort, "epsilon": epsilon}
        for (cohort, epsilon), part in answers.sort("cohort", "epsilon").group_by(
            "cohort", "epsilon", maintain_order=True
        )
    ]
    shown = ["cohort", "epsilon", "rate", "low", "high", "diagnosis_rate", "diagnosis_low", "diagnosis_high", "n",
             "events", "readers", "patients", "seconds", "method"]  # fmt: skip
    return pl.DataFrame(rows).select(shown) if rows else pl.DataFrame()


def visible_epsilon(detection: pl.DataFrame) -> dict[str, float | None]:
    """Cohort → the smallest ε shown at which, and at every larger one, the interval of right answers lies above one
    half; None where that is so of no ε.

    >>> visible_epsilon(pl.DataFrame({"cohort": ["A"] * 3, "epsilon": [0.1, 0.2, 0.4], "low": [0.6, 0.4, 0.7]}))
    {'A': 0.4}
    """
    found: dict[str, float | None] = {}
    for (cohort,), part in detection.sort("epsilon", descending=True).group_by("cohort", maintain_order=True):
        above = (part["low"].to_numpy() > CHANCE).cumprod().astype(bool)
        found[str(cohort)] = float(part["epsilon"].to_numpy()[above][-1]) if above.any() else None
    return dict(sorted(found.items()))


def _at(records: Records, part: pl.DataFrame, level: float, seed: int) -> dict[str, Any]:
    """Rates and intervals of the answers at one ε."""
    patients, readers = _patients(records, part), _codes(part["reader"].to_list())
    clusterings = {"patient": patients} | ({"reader": readers} if readers.max() > 0 else {})
    found: dict[str, Any] = {}
    methods = []
    for name, column in (("", "right"), ("diagnosis_", "diagnosis_right")):
        events = part[column].to_numpy()[None]
        ends = []
        for cluster, codes in clusterings.items():
            low, high, method = intervals(counts(events, np.ones_like(events), codes), level, seed)
            ends.append((low[0], high[0]))
            if column == "right":
                methods.append(f"{method[0]} (by {cluster})")
        found |= {
            f"{name}rate": float(events.mean()),
            f"{name}low": float(min(low for low, _ in ends)),
            f"{name}high": float(max(high for _, high in ends)),
        }
    return found | {
        "n": part.height,
        "events": int(part["right"].sum()),
        "readers": int(readers.max()) + 1,
        "patients": int(patients.max()) + 1,
        "seconds": float(np.median(part["seconds"].to_numpy())),
        "method": "; ".join(methods),
    }


def _patients(records: Records, part: pl.DataFrame) -> np.ndarray:
    """(answer,) int64 codes of the images' patients; an image that the records no longer hold is its own."""
    known = {run.header.run_id: dict(run.images.select("image_id", "patient_id").iter_rows()) for run in records.runs}
    pairs = part.select("run_id", "image_id").iter_rows()
    return _codes([known.get(run, {}).get(image) or f"image {image}" for run, image in pairs])


def _codes(names: list[str]) -> np.ndarray:
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1].astype(np.int64)
