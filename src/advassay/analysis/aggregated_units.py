"""From tiles to slides and patients: when does the whole turn, and how many of its tiles must fall first?

A unit is a patient's images of one class: the slide, where a slide is the patient's cluster. Its decision comes from
its tiles by majority (votes), mean (probabilities) or max (positive as soon as one tile is; two classes).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl

from advassay import success as _success
from advassay.analysis.confidence_shift import about
from advassay.analysis.intervals import counts, intervals
from advassay.analysis.outcome_arrays import ONE_STEP_SIZE, OutcomeArrays, packs_of
from advassay.errors import SpecError
from advassay.records.store_reader import Records

Rule = Literal["majority", "mean", "max"]
RULES: tuple[Rule, ...] = ("majority", "mean", "max")


def unit_outcomes(
    records: Records, *, arm: str | None = None, step_size: str | None = None, level: float = 0.95,
    fewest_tiles: float = 1,
) -> pl.DataFrame:  # fmt: skip
    """Slide- or patient-level success at the last iterate of every ε, by each rule.

    Columns: cohort, image_type, arm, step_size, epsilon, rule, units (first decided correctly), tiles (mean per unit),
    rate (units whose decision is wrong after every tile was attacked) with low, high, events and method (patients with
    two units count once), tiles_to_flip (median over units of the fewest adversarial tiles that turn the unit; null
    where half of them cannot be turned), share_to_flip (the same as a share of the unit's tiles), unturnable (units
    that even all of their adversarial tiles leave correct).

    Ties go to the class named first, as a tie of logits does. Rule max is left out with more than two classes, and
    cohorts with fewer than `fewest_tiles` images per unit on average.
    Raises SpecError for step_size="any".
    """
    if step_size == "any":
        raise SpecError('step_size: units need one recorded step size, got "any".', ONE_STEP_SIZE)
    packs = [pack for pack in packs_of(records, arm, step_size) if _images_per_unit(pack) >= fewest_tiles]
    rows = [row for pack in packs for row in _rows(pack, level)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _images_per_unit(pack: OutcomeArrays) -> float:
    units = np.unique(np.stack([pack.patients, pack.labels]), axis=1).shape[1]
    return len(pack.labels) / max(units, 1)


def _rows(pack: OutcomeArrays, level: float) -> list[dict[str, Any]]:
    rules = RULES if len(pack.header.class_names) == 2 else RULES[:2]
    rows = []
    for i, epsilon in enumerate(pack.epsilons):
        kept = pack.present[i] & ~np.isnan(pack.clean_logits).any(1) & ~np.isnan(pack.final_logits[i]).any(1)
        clean, after = (_success.probabilities(x[kept]) for x in (pack.clean_logits, pack.final_logits[i]))
        for rule in rules:
            found = [
                (patient, len(tiles), *flipped(clean[tiles], after[tiles], label, rule, _positive(pack)))
                for patient, label, tiles in _units(pack.patients[kept], pack.labels[kept])
            ]
            rows.append(about(pack) | {"epsilon": float(epsilon), "rule": rule} | _summary(found, level))
    return rows


def _positive(pack: OutcomeArrays) -> int:
    names = pack.header.class_names
    return names.index(pack.header.positive) if pack.header.positive in names else 0


def _units(patients: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """(patient, label, places of its tiles)."""
    if not len(patients):
        return []
    order = np.lexsort((labels, patients))
    keys = np.stack([patients[order], labels[order]])
    parts = np.split(order, np.flatnonzero((np.diff(keys) != 0).any(0)) + 1)
    return [(int(patients[part[0]]), int(labels[part[0]]), part) for part in parts]


def flipped(
    clean: np.ndarray, adversarial: np.ndarray, label: int, rule: Rule, positive: int = 0
) -> tuple[bool, bool, int | None]:
    """(decided correctly when clean, wrongly when every tile is adversarial, fewest adversarial tiles that turn it).

    `clean`, `adversarial` (tile, class) probabilities of one unit. The fewest is exact: a rival class overtakes soonest
    when the tiles that bring it most are exchanged first. None where no number of tiles turns it.

    >>> before = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    >>> flipped(before, 1 - before, 0, "majority"), flipped(before, 1 - before, 0, "max", positive=0)
    ((True, True, 2), (True, True, 3))
    """
    a, b = (_votes(x, rule, positive) for x in (clean, adversarial))
    correct, wrong = _decided(a, rule, positive) == label, _decided(b, rule, positive) != label
    return correct, wrong, _fewest(a, b, label, rule, positive) if correct else None


def _votes(probability: np.ndarray, rule: Rule, positive: int) -> np.ndarray:
    """(tile, class) what each tile brings; for max: one column, whether the tile is positive."""
    if rule == "mean":
        return probability
    votes = np.eye(probability.shape[1])[probability.argmax(1)]
    return votes[:, [positive]] if rule == "max" else votes


def _decided(votes: np.ndarray, rule: Rule, positive: int) -> int:
    if rule == "max":
        return positive if votes.any() else 1 - positive
    return int(votes.sum(0).argmax())


def _fewest(a: np.ndarray, b: np.ndarray, label: int, rule: Rule, positive: int) -> int | None:
    if rule == "max":
        return _fewest_of_max(a[:, 0] > 0, b[:, 0] > 0, label == positive)
    found = []
    for rival in (c for c in range(a.shape[1]) if c != label):
        lead = float((a[:, label] - a[:, rival]).sum())
        gain = np.sort((a[:, label] - a[:, rival]) - (b[:, label] - b[:, rival]))[::-1]
        left = np.round(lead - np.cumsum(gain), 9)
        over = np.flatnonzero(left <= 0 if rival < label else left < 0)  # a tie goes to the class named first
        found += [int(over[0]) + 1] if over.size else []
    return min(found, default=None)


def _fewest_of_max(before: np.ndarray, after: np.ndarray, is_positive: bool) -> int | None:
    if not is_positive:
        return 1 if after.any() else None
    return None if (before & after).any() else int(before.sum())


def _summary(found: list[tuple[int, int, bool, bool, int | None]], level: float) -> dict[str, Any]:
    kept = [one for one in found if one[2]]
    wrong = np.array([one[3] for one in kept], bool)
    patients = np.unique([one[0] for one in kept], return_inverse=True)[1].astype(np.int64)
    points = counts(wrong[None], np.ones((1, len(kept)), bool), patients)
    low, high, method = intervals(points, level)
    tiles = np.array([one[1] for one in kept], float)
    fewest = np.array([np.inf if one[4] is None else one[4] for one in kept], float)
    return {
        "units": len(kept), "tiles": float(tiles.mean()) if len(kept) else None,
        "rate": float(wrong.mean()) if len(kept) else None, "low": _known(low[0]), "high": _known(high[0]),
        "events": int(wrong.sum()), "method": method[0],
        "tiles_to_flip": _known(_median(fewest)), "share_to_flip": _known(_median(fewest / tiles)),
        "unturnable": int(np.isinf(fewest).sum()),
    }  # fmt: skip


def _median(values: np.ndarray) -> float:
    """The lower median: it does not average a number with infinity."""
    return float(np.sort(values)[(len(values) - 1) // 2]) if len(values) else float("nan")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
