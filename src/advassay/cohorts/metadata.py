"""Selection from the source's table alone: no image is decoded, so millions of rows take seconds.

What only pixels can tell (unreadable files, equal images under two names) is not known here; all other rules apply as
they do in `preparing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from advassay.cohorts.balance import DRAW_ID, draw_down
from advassay.cohorts.confounding import attribute_warnings, patient_warnings
from advassay.cohorts.flow import Flow
from advassay.cohorts.sample_size import few_images_warning
from advassay.cohorts.selection import odd_values, select, values_that_never_occur
from advassay.cohorts.split import ROLES, assign_roles
from advassay.errors import CohortError
from advassay.flow_chart import FlowRow, charted_so_far, flow_rows
from advassay.sources import OpenSource
from advassay.specs import CohortSpec


@dataclass(frozen=True)
class Selection:
    """Who would be in a cohort. frame: row (of the source), label, class_name, role, one row per image that is in."""

    cohort: str
    frame: pl.DataFrame
    flow: Flow

    def counts(self) -> dict[str, dict[str, int]]:
        """role (training | tuning | validation) → class → images."""
        names = dict(self.frame.select("label", "class_name").unique().sort("label").iter_rows())
        tally = {(role, name): images for role, name, images in self.frame.group_by("role", "class_name").len().rows()}
        return {role: {name: tally.get((role, name), 0) for name in names.values()} for role in ROLES}

    def chart(self) -> list[FlowRow]:
        """The flow chart."""
        return flow_rows(self.cohort, self.flow.candidates, self.flow.steps, self.counts())


def select_by_metadata(name: str, spec: CohortSpec, opened: OpenSource, seed: int) -> Selection:
    """Apply every rule of `spec` that needs no pixels, the split included, to the rows of an open source.

    Draws are keyed by (seed, SOP Instance UID) of DICOM, as `prepare` keys them: the same images are drawn, but for
    what pixels tell. Of other sources by (seed, path), or the row's number where there is no path, while `prepare`
    draws by pixel content: as many images, but other ones. Raises CohortError where the rules leave no cohort.
    """
    flow = Flow(opened.rows.height + opened.left_out.height)
    try:
        return _select(name, spec, opened, seed, flow)
    except CohortError as problem:
        problem.flow = tuple(charted_so_far(name, flow.candidates, flow.steps))
        raise


def _select(name: str, spec: CohortSpec, opened: OpenSource, seed: int, flow: Flow) -> Selection:
    flow.warnings += values_that_never_occur(opened.rows, spec)
    flow.warnings += odd_values(opened.rows, spec)
    if opened.left_out.height:
        flow.left_out("source rows", opened.left_out["reason"].to_list())
    rows = select(opened.rows, spec, flow)
    row = pl.format("row {}", "row")
    patient = pl.col(spec.patient_id or "original_patient").cast(pl.String)
    if opened.draw_column is not None:
        rows = rows.with_columns(pl.coalesce(opened.draw_column, "path").alias(DRAW_ID))
    rows = rows.with_columns(
        pl.coalesce("path", row).alias("image_id"),
        pl.coalesce(patient, row).alias("patient_id"),
        patient.is_not_null().alias("has_patient"),
    )
    chosen = assign_roles(draw_down(rows, spec, seed, flow), spec, seed, flow)
    flow.warnings += opened.remarks(chosen["row"].to_list())
    flow.warnings += patient_warnings(chosen, spec)
    flow.warnings += attribute_warnings(chosen, spec)
    selected = Selection(name, chosen.select("row", "label", "class_name", "role"), flow)
    if (few := few_images_warning(selected.counts())) is not None:
        flow.warnings.append(few)
    return selected
