"""Transfer as tables: how often attacked images of one network mislead another, beside noise of the same size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.conclusions.conclusion import finite
from advassay.analysis.conclusions.evidence import plan_in_force
from advassay.analysis.conclusions.transfer import value_of
from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.transfer_outcomes import KINDS, CohortTransfer, cohort_transfers
from advassay.records.store_reader import Records


def transfer_matrix(records: Records, *, level: float = 0.95) -> pl.DataFrame:
    """One row per cohort, ε and ordered pair of networks, a network with itself (the attack on the source) among them.

    Columns: cohort, arm, step_size, epsilon, source, target (networks in words), kind (what the target is to the
    source), n (images that both classify correctly), events (of these misclassified by the target as attacked on the
    source), rate, low, high, method, noise_events, noise_rate, noise_low, noise_high (random noise of the same size),
    patients. Empty where the study has no transfer. Under the arm and step size of the plan.
    """
    rows = [row for cohort in _cohorts(records) for row in _pairs(cohort, level)]
    return pl.DataFrame(rows, infer_schema_length=None)


def transfer_by_kind(records: Records, *, level: float = 0.95) -> pl.DataFrame:
    """One row per cohort, ε and kind of pair (the attack on the source itself among them), pairs pooled.

    Columns: cohort, arm, step_size, epsilon, kind (with "all others"), pairs, n (images × pairs that count), images,
    rate, low, high, noise_rate, noise_low, noise_high, difference (attacked less noise, of other networks) with
    difference_low and difference_high, patients. Rates: intervals clustered by patient. Differences: by patient and,
    from three networks on, by network.
    """
    rows = [row for cohort in _cohorts(records) for row in _kinds(cohort, level)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _cohorts(records: Records) -> tuple[CohortTransfer, ...]:
    if not records.transfers:
        return ()
    force = plan_in_force(records)
    found = cohort_transfers(records, force.arm, force.step_size())
    return tuple(cohort for cohort in found if len(cohort.networks) > 1)


def _pairs(cohort: CohortTransfer, level: float) -> Iterator[dict[str, Any]]:
    for s, source in enumerate(cohort.networks):
        for t, target in enumerate(cohort.networks):
            here = {"source": source.name, "target": target.name, "kind": str(cohort.kinds[s, t])}
            chosen = (slice(s, s + 1), slice(t, t + 1))
            yield from (_place(cohort) | row for row in _rates(cohort, chosen, here, level))


def _kinds(cohort: CohortTransfer, level: float) -> Iterator[dict[str, Any]]:
    for kinds, name in [(("itself",), "itself"), *(((kind,), kind) for kind in KINDS), (KINDS, "all others")]:
        pairs = cohort.pairs(*kinds)
        for k, row in enumerate(_rates(cohort, pairs, {"kind": name}, level)):
            value = None if name == "itself" else value_of(cohort, kinds, k)  # type: ignore[arg-type]
            low, high = value.interval(level) if value else (float("nan"),) * 2
            number = int((cohort.counted[:, :, k].any(axis=2) & pairs).sum())
            if number:
                yield _place(cohort) | row | {
                    "pairs": number, "images": int(cohort.counted[pairs][:, k].any(axis=0).sum()),
                    "difference": finite(value.value if value else None),
                    "difference_low": finite(low), "difference_high": finite(high),
                }  # fmt: skip


def _place(cohort: CohortTransfer) -> dict[str, Any]:
    return {"cohort": cohort.header.cohort, "arm": cohort.header.arm, "step_size": cohort.step_size}


def _rates(cohort: CohortTransfer, chosen: Any, here: dict[str, Any], level: float) -> Iterator[dict[str, Any]]:
    """One row an amplitude, of the pairs that `chosen` picks out of (source, target)."""
    shape = (-1, len(cohort.epsilons), len(cohort.image_ids))
    counted = cohort.counted[chosen].reshape(shape)
    patients = np.tile(cohort.patients, len(counted))

    def flat(found: np.ndarray) -> np.ndarray:
        return np.moveaxis(found.reshape(shape), 0, 1).reshape(len(cohort.epsilons), -1)

    def points(events: np.ndarray) -> Counts:
        return counts(flat(events), flat(counted), patients)

    attacked, noise = points(cohort.attacked[chosen]), points(cohort.noise[chosen])
    low, high, method = intervals(attacked, level)
    noise_low, noise_high, _ = intervals(noise, level)
    for k, epsilon in enumerate(cohort.epsilons):
        yield here | {
            "epsilon": float(epsilon), "n": int(attacked.n[k]), "events": int(attacked.total[k]),
            "rate": finite(attacked.rate[k]), "low": finite(low[k]), "high": finite(high[k]), "method": method[k],
            "noise_events": int(noise.total[k]), "noise_rate": finite(noise.rate[k]),
            "noise_low": finite(noise_low[k]), "noise_high": finite(noise_high[k]),
            "patients": int(attacked.patients[k]),
        }  # fmt: skip
