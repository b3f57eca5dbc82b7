"""Who is easier to fool? ε50 and robust accuracy by group (sex, age band, site, scanner, …), and their differences.

The groups are columns that the analysis plan names (`analysis.subgroups`) and that records carry. A difference between
groups is tested within cohorts: the difference of their ln ε50, a log-logistic curve each, clustered by patient, so
that a patient with images in two groups is counted once; then pooled over cohorts by random effects. An ε50 beyond the
grid bounds the difference. The reference group is the one with most images over all cohorts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.conclusions.conclusion import as_ratio, finite
from advassay.analysis.conclusions.effect_sizes import Value, joined, overall, values_of
from advassay.analysis.conclusions.evidence import Evidence, evidence_of, kind_of
from advassay.analysis.conclusions.iterations import nearest_shared
from advassay.analysis.differences import holm
from advassay.analysis.dose_response.epsilon50 import epsilon50_of
from advassay.analysis.dose_response.epsilon50_tables import GREY_LEVELS, epsilon50_text
from advassay.analysis.dose_response.shift import shift_of
from advassay.analysis.dose_response.thresholds import thresholds
from advassay.analysis.intervals import counts, intervals
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.records.run_reader import SUBGROUP
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan

FEWEST = 5
"""Attackable images of a group in a cohort below which the cohort says nothing about it."""
COLUMNS = {
    "subgroup": pl.String, "row": pl.String, "cohort": pl.String, "group": pl.String, "reference": pl.String,
    "n": pl.Int64, "patients": pl.Int64, "text": pl.String, "text_255": pl.String, "estimate": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "epsilon": pl.Float64, "attacked": pl.Int64, "robust_accuracy": pl.Float64,
    "robust_accuracy_low": pl.Float64, "robust_accuracy_high": pl.Float64, "cohorts": pl.Int64, "p": pl.Float64,
    "p_holm": pl.Float64,
}  # fmt: skip


def subgroup_effects(records: Records, *, plan: AnalysisPlan | None = None) -> pl.DataFrame:
    """ε50 and robust accuracy of every group, and every group's ratio of ε50 to the reference group's.

    Judged in the plan's arm, step size and readings. Rows of two kinds:
    row = "group": one cohort's group. n, patients: attackable images and their patients; text, estimate, low, high: ε50
    (estimate null outside the grid), text_255 in grey levels of 255; attacked, robust_accuracy with low and high: share
    of all attacked images of the group that are classified correctly at the last iterate at `epsilon`.
    row = "difference": estimate, low, high: ratio of ε50, group / reference, pooled over `cohorts`; below 1 the group
    is easier to fool. n: attackable images of both. p of no difference; p_holm adjusted over all differences of the
    frame.
    Empty where records carry no groups.
    """
    evidence = evidence_of(records, plan)
    groups = {
        name: in_common_bands({id(pack): _groups(records, pack, name) for packs in evidence.main for pack in packs})
        for name in carried_subgroups(records)
    }
    rows = [row for name, of_packs in groups.items() for row in _of_subgroup(evidence, name, of_packs)]
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    differences = frame["p"].is_not_null()
    if not differences.any():
        return frame
    adjusted = np.full(len(frame), np.nan)
    adjusted[differences.to_numpy()] = holm(frame["p"].drop_nulls().to_numpy())
    return frame.with_columns(p_holm=pl.Series(adjusted, nan_to_null=True))


def carried_subgroups(records: Records) -> list[str]:
    """Names of the subgroups that any run of the store carries, in the order of its columns."""
    found = [c.removeprefix(SUBGROUP) for run in records.runs for c in run.images.columns if c.startswith(SUBGROUP)]
    return list(dict.fromkeys(found))


def _groups(records: Records, pack: OutcomeArrays, name: str) -> np.ndarray:
    """(image,) object: the group of each image of the pack, None where it is not known."""
    images = records.run(pack.header.run_id).images
    if SUBGROUP + name not in images.columns:
        return np.full(len(pack.image_ids), None, dtype=object)
    known = dict(images.select("image_id", SUBGROUP + name).iter_rows())
    return np.array([known.get(image) for image in pack.image_ids], dtype=object)


_BAND = re.compile(r"(\S+) to < (\S+)")


def in_common_bands(groups: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Numbers in the same bands in every cohort, so that these can be pooled; other groups as they are.

    Records hold bands as each cohort's own range asked for, `40 to < 50`, or single numbers where there are few. The
    common width is the smallest of 1, 2 or 5 times a power of ten that all their widths divide.
    """
    texts = {group for of_pack in groups.values() for group in of_pack if group is not None}
    lows, widths = {}, set()
    for text in texts:
        band = _BAND.fullmatch(text)
        low, high = (_number(part) for part in (band.groups() if band else (text, text)))
        if low is None or high is None:
            return groups
        lows[text] = low
        widths |= {round(high - low, 9)} - {0.0}
    if not widths or (len(widths) == 1 and all(_BAND.fullmatch(text) for text in texts)):
        return groups
    width = _common_width(widths)
    named = {text: _band_of(low, width) for text, low in lows.items()}
    return {key: np.array([named.get(group) for group in of_pack], dtype=object) for key, of_pack in groups.items()}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _common_width(widths: set[float]) -> float:
    power = 10.0 ** np.floor(np.log10(max(widths)))
    for width in (float(power * m) for m in (1, 2, 5, 10)):
        if all(abs(width / own - round(width / own)) < 1e-6 and width >= own for own in widths):
            return width
    return float(power * 100)


def _band_of(value: float, width: float) -> str:
    low = np.floor(value / width + 1e-9) * width
    return f"{low:g} to < {low + width:g}"


def _of_subgroup(evidence: Evidence, name: str, groups: dict[int, np.ndarray]) -> Iterator[dict[str, Any]]:
    sizes: Counter[str] = Counter()
    for packs in evidence.main:
        of_pack = groups[id(packs[0])]
        kept = thresholds(packs[0], evidence.plan.success, evidence.plan.dose).kept
        sizes.update(group for group in of_pack[kept] if group is not None)
        for group in sorted({g for g in of_pack if g is not None}):
            yield {"subgroup": name} | _group_row(evidence, packs[0], group, of_pack == group)
    if len(sizes) < 2:
        return
    reference = min(sizes, key=lambda group: (-sizes[group], group))
    for group in sorted(set(sizes) - {reference}):
        statistic = partial(group_shift, plan=evidence.plan, groups=groups, group=group, reference=reference)
        values = joined(values_of(evidence.main, statistic), evidence.main)
        effect = overall(values, evidence.plan.level)
        if not effect.known:
            continue
        ratio, low, high = (finite(as_ratio(x)) for x in (effect.estimate, effect.low, effect.high))
        yield {
            "subgroup": name, "row": "difference", "group": group, "reference": reference, "estimate": ratio,
            "low": low or None, "high": high, "n": effect.images, "cohorts": effect.k, "p": effect.p,
        }  # fmt: skip


def _group_row(evidence: Evidence, pack: OutcomeArrays, group: str, images: np.ndarray) -> dict[str, Any]:
    plan = evidence.plan
    found = epsilon50_of(thresholds(pack, plan.success, plan.dose, images), plan.level)
    low, high = found.interval(plan.level) if found.side != "unknown" else (float("nan"),) * 2
    at = int(np.argmin(np.abs(pack.epsilons - nearest_shared(evidence))))
    points = counts(
        pack.correct[at : at + 1, -1], pack.decided[at : at + 1] & images, pack.patients, len(pack.patient_ids)
    )
    bottom, top, _ = intervals(points, plan.level)
    attacked = int(points.n[0])
    robust = [float(x[0]) if attacked else None for x in (points.rate, bottom, top)]
    return {
        "row": "group", "cohort": pack.header.cohort, "group": group, "n": found.data.images,
        "patients": found.data.n_patients, "text": epsilon50_text(found, plan.level),
        "text_255": epsilon50_text(found, plan.level, GREY_LEVELS),
        "estimate": finite(found.estimate) if found.trusted else None, "low": finite(low) or None, "high": finite(high),
        "epsilon": float(pack.epsilons[at]), "attacked": attacked, "robust_accuracy": robust[0],
        "robust_accuracy_low": robust[1], "robust_accuracy_high": robust[2],
    }  # fmt: skip


def group_shift(
    pack: OutcomeArrays, plan: AnalysisPlan, groups: dict[int, np.ndarray], group: str, reference: str
) -> Value | None:
    """ln of the ratio of ε50, group / reference; a bound where one of the two lies beyond the grid.

    None where either has fewer than 5 attackable images in this cohort, and where nothing is known of the ratio
    (`shift_of`).
    """
    of_pack = groups[id(pack)]
    data = [thresholds(pack, plan.success, plan.dose, of_pack == one) for one in (group, reference)]
    if min(one.images for one in data) < FEWEST:
        return None
    these, others = (epsilon50_of(one, plan.level) for one in data)
    shift = shift_of(these, others)
    if shift is None:
        return None
    return Value(
        (pack.header.cohort,), kind_of(pack.header.image_type), shift.value, shift.variance, shift.freedom,
        sum(one.images for one in data), shift.bound,
    )  # fmt: skip
