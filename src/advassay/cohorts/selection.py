"""Who is in: rules over the source's columns, a row per candidate image, without decoding any."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from advassay.cohorts.balance import DRAW_ID, MOST_SHOWN, subsample
from advassay.cohorts.cohort_warnings import attribute_warnings, few_images_warning, patient_warnings
from advassay.cohorts.conditions import absent_values, all_match, column_of, describe_odd, matches, missing, odd_for
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.cohorts.split import ROLES, assign_roles
from advassay.errors import CohortError
from advassay.flow_chart import FlowRow, charted_so_far, flow_rows
from advassay.sources import OpenSource
from advassay.sources.column_allowlist import short_values
from advassay.sources.reports import FINDINGS
from advassay.sources.table_files import did_you_mean, is_id
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.rule_spec import Condition, Scalar


def select(rows: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> pl.DataFrame:
    """Candidate rows that satisfy `where`, belong to exactly one class and, if asked for, have no other finding.

    `rows`: one row per candidate image, any columns. Adds `label` (Int64, index of the class in the spec's
    order), replacing a source column of that name, and `class_name` (text). Raises CohortError for a rule about
    an absent column or of the wrong type.
    """
    for name, condition in spec.where.items():
        place = f"where.{name}"
        column = column_of(rows, name, place)
        reasons = _reasons(
            (missing(column), f"{name}: no value"),
            (odd_for(column, condition), f"{name}: not a number"),
            (~matches(column, condition, place), f"{name}: other value than {place} accepts"),
        )
        rows = flow.keep(place, rows, reasons)
    rows = _classify(rows, spec, flow)
    return _without_other_findings(rows, spec, flow) if spec.other_findings == "excluded" else rows


def values_that_never_occur(rows: pl.DataFrame, spec: CohortSpec) -> list[str]:
    """A warning per rule that lists values no row of the source has: most often a slip of the pen.

    `rows`: all candidates, before any rule. Raises CohortError like `select`, and where none of a rule's values occurs,
    so that the cohort or one of its classes would be empty: the message names them and those there are.
    """
    warnings = []
    for place, name, condition in _rules_of(spec):
        column = column_of(rows, name, place)
        listed = [*(condition.in_ or ()), *(condition.not_in or ())]
        if absent := absent_values(column, listed):
            if spec.is_trained_on and not matches(column, condition, place).any() and condition.in_ is not None:
                raise _no_such_value(column, absent, place)
            warnings.append(f"{place}: no row of the source has {', '.join(map(repr, absent))}.")
    return warnings


def odd_values(rows: pl.DataFrame, spec: CohortSpec) -> list[str]:
    """A warning per column in which a rule looks for numbers and finds other texts. `rows`: all candidates."""
    looked_at = {name: (place, condition) for place, name, condition in reversed(_rules_of(spec)) if condition.range}
    return [
        told
        for name, (place, condition) in looked_at.items()
        if odd_for(column := column_of(rows, name, place), condition).any()
        and (told := describe_odd(column, rows["row"], place)) is not None
    ]


def _rules_of(spec: CohortSpec) -> list[tuple[str, str, Condition]]:
    """(place in the study file, column, condition) of every rule."""
    rules = [(f"where.{name}", name, condition) for name, condition in spec.where.items()]
    for label, conditions in spec.classes.items():
        rules += [(f"classes.{label}.{name}", name, condition) for name, condition in conditions.items()]
    return rules


def _no_such_value(column: pl.Series, absent: list[Scalar], place: str) -> CohortError:
    """Values there are as far as they may be shown, most frequent first."""
    got = f"{place}: a value that some row of the source has, got {', '.join(map(repr, absent))}."
    if is_id(column.name) or not short_values(column):
        return CohortError(got, f"Look into column {column.name}.")
    counts = column.drop_nulls().value_counts(sort=True, name="rows")
    shown = ", ".join(f"{value!r} ({number:,})" for value, number in counts.head(MOST_SHOWN).iter_rows())
    more = f" and {counts.height - MOST_SHOWN} more" if counts.height > MOST_SHOWN else ""
    hint = did_you_mean(str(absent[0]), map(str, counts[column.name]))
    return CohortError(got, f"{hint}Column {column.name} has: {shown or 'no value'}{more}.")


def _classify(rows: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> pl.DataFrame:
    names = list(spec.classes)
    member = pl.DataFrame({name: all_match(rows, spec.classes[name], f"classes.{name}") for name in names})
    classes = member.select(pl.sum_horizontal(pl.all().cast(pl.Int64))).to_series()
    label = member.select(pl.sum_horizontal(pl.col(name).cast(pl.Int64) * i for i, name in enumerate(names)))
    reasons = _reasons((classes == 0, "in no class"), (classes > 1, "in more than one class"))
    rows = rows.with_columns(label.to_series().alias("label"))
    numbers = pl.int_range(len(names), eager=True)
    class_name = pl.col("label").replace_strict(numbers, names, default=None, return_dtype=pl.String)
    return flow.keep("classes", rows.with_columns(class_name.alias("class_name")), reasons)


def _without_other_findings(rows: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> pl.DataFrame:
    """Rows without a finding that is stated, or held possible, beside the ones their class is about."""
    known = [name for name in FINDINGS if name in rows.columns]
    if not known:
        raise CohortError(
            f"other_findings: excluded needs columns of findings in the source ({', '.join(FINDINGS)}), found none.",
            "Give the source `reports`, or name the source's own columns in `where`.",
        )
    cases = []
    for name in known:
        own = [i for i, rules in enumerate(spec.classes.values()) if name in rules or name in spec.where]
        stated = rows[name].cast(pl.String).is_in(["present", "uncertain"]).fill_null(False)
        cases.append((stated & ~rows["label"].is_in(own), f"another finding: {name.replace('_', ' ')}"))
    return flow.keep("other findings", rows, _reasons(*cases))


def _reasons(*cases: tuple[pl.Series, str]) -> pl.Series:
    """The first reason that applies to each row, or null."""
    frame = pl.DataFrame({str(i): mask for i, (mask, _) in enumerate(cases)})
    chosen = pl.coalesce(pl.when(pl.col(str(i))).then(pl.lit(reason)) for i, (_, reason) in enumerate(cases))
    return frame.select(chosen).to_series()


@dataclass(frozen=True)
class Selection:
    """Who would be in a cohort. frame: row (of the source), label, class_name, role, one row per image that is in."""

    cohort: str
    frame: pl.DataFrame
    flow: SelectionCounts

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
    flow = SelectionCounts(opened.rows.height + opened.left_out.height)
    try:
        return _select(name, spec, opened, seed, flow)
    except CohortError as problem:
        problem.flow = tuple(charted_so_far(name, flow.candidates, flow.steps))
        raise


def _select(name: str, spec: CohortSpec, opened: OpenSource, seed: int, flow: SelectionCounts) -> Selection:
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
    chosen = assign_roles(subsample(rows, spec, seed, flow), spec, seed, flow)
    flow.warnings += opened.remarks(chosen["row"].to_list())
    flow.warnings += patient_warnings(chosen, spec)
    flow.warnings += attribute_warnings(chosen, spec)
    selected = Selection(name, chosen.select("row", "label", "class_name", "role"), flow)
    if (few := few_images_warning(selected.counts())) is not None:
        flow.warnings.append(few)
    return selected
