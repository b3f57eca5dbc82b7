"""Who is in, who was left out and why: a cohort's selection as the rows of a flow chart.

A chart in the manner of STARD's (Bossuyt et al. 2015, doi:10.1136/bmj.h5527): every stage with what entered, what left
it, for which reasons, and what stayed of each class. Made from counts alone, so it can be shown to anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from advassay.store_documents import Preparation

STAGES = {
    "source rows": "usable files",
    "where": "eligible",
    "classes": "in a class",
    "other findings": "in a class",
    "decoding": "readable images",
    "contradictory labels": "distinct images",
    "duplicates": "distinct images",
    "images_per_patient": "balanced",
    "balance": "balanced",
    "equal classes": "balanced",
    "per_class": "balanced",
}
"""Step of a selection (up to its first dot) → stage of the chart; another step is a stage of its own."""
FIRST, LAST = "candidates", "split"


class FlowRow(NamedTuple):
    """One stage of one cohort. Numbers of images."""

    cohort: str
    stage: str
    entering: int
    left_out: int
    kept: int
    reasons: dict[str, int]
    """Why images left: reason → images, most frequent first; empty in stores of older versions."""
    classes: dict[str, int]
    """What stayed of each class; empty before images have classes."""
    roles: dict[str, int]
    """Last stage only: training, tuning, validation."""


def flow_rows(
    cohort: str, candidates: int, steps: Iterable[Mapping[str, Any]], counts: Mapping[str, Mapping[str, int]]
) -> list[FlowRow]:
    """The chart of one cohort. `steps`: as `Preparation.flow`; `counts`: role → class → images.

    >>> steps = [{"step": "where.view", "kept": 8, "left_out": 2, "reasons": {"view: no value": 2}}]
    >>> [row.kept for row in flow_rows("A", 10, steps, {"training": {"x": 5}, "validation": {"x": 3}})]
    [10, 8, 8]
    """
    rows = charted_so_far(cohort, candidates, steps)
    roles = {role: sum(of_role.values()) for role, of_role in counts.items()}
    classes = _added(*counts.values())
    kept = rows[-1].kept
    return [*rows, FlowRow(cohort, LAST, kept, kept - sum(roles.values()), sum(roles.values()), {}, classes, roles)]


def charted_so_far(cohort: str, candidates: int, steps: Iterable[Mapping[str, Any]]) -> list[FlowRow]:
    """The chart up to the last step, without the split: also of a cohort that could not be formed."""
    rows = [FlowRow(cohort, FIRST, candidates, 0, candidates, {}, {}, {})]
    for step in steps:
        stage = STAGES.get(str(step["step"]).split(".")[0], str(step["step"]))
        last = rows[-1]
        row = FlowRow(
            cohort, stage, last.kept, step["left_out"], step["kept"], _reasons(step), dict(step.get("classes", {})), {}
        )
        rows[-1:] = [_joined(last, row)] if stage == last.stage else [last, row]
    return rows


def flow_of(preparation: Preparation) -> list[FlowRow]:
    """The chart of a prepared cohort."""
    return flow_rows(preparation.cohort, preparation.candidates, preparation.flow, preparation.counts)


def tidy(rows: Iterable[FlowRow]) -> list[dict[str, str | int]]:
    """The chart in long form, one number a row: cohort, place, stage, part, what, images.

    part: entering | left out | kept (all of a stage), reason | class | role (of which `what` names one).
    """
    long: list[dict[str, str | int]] = []
    place, cohort = 0, None
    for row in rows:
        place = place + 1 if row.cohort == cohort else 0
        cohort = row.cohort
        parts = [("entering", "", row.entering), ("left out", "", row.left_out), ("kept", "", row.kept)]
        for part, numbers in (("reason", row.reasons), ("class", row.classes), ("role", row.roles)):
            parts += [(part, what, images) for what, images in numbers.items()]
        own: dict[str, str | int] = {"cohort": cohort, "place": place, "stage": row.stage}
        long += [own | {"part": part, "what": what, "images": images} for part, what, images in parts]
    return long


def _joined(first: FlowRow, then: FlowRow) -> FlowRow:
    """Two steps of one stage as one."""
    return then._replace(
        entering=first.entering,
        left_out=first.left_out + then.left_out,
        reasons=_most_first(_added(first.reasons, then.reasons)),
    )


def _reasons(step: Mapping[str, Any]) -> dict[str, int]:
    return _most_first(step.get("reasons", {}))


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _added(*counts: Mapping[str, int]) -> dict[str, int]:
    names = dict.fromkeys(name for one in counts for name in one)
    return {name: sum(one.get(name, 0) for one in counts) for name in names}
