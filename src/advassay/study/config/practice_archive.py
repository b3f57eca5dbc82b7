"""How many people a made-up archive needs for a study to be prepared on it, by its plan alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from advassay.cohorts.selection import select_by_metadata
from advassay.errors import CohortError
from advassay.sources import OpenSource
from advassay.sources.base import LEFT_OUT
from advassay.sources.synthetic_archive import plan_archive
from advassay.sources.synthetic_archive.archive_plan import KEPT, ArchivePlan
from advassay.spec.study_spec import Study

MOST = 2000
"""People up to whom a large enough archive is looked for."""
SEEDS = range(5)
"""Draws that must all leave a cohort: `prepare` draws and splits by pixels, which a plan does not have."""


class TooSmall(NamedTuple):
    """cohorts: those that cannot be formed, with the reason; patients: how many people suffice, None beyond MOST."""

    cohorts: dict[str, str]
    patients: int | None


def check_archive(study: Study, source: str, patients: int, seed: int) -> TooSmall | None:
    """Which cohorts of `study` that read `source` the archive of so many people is too small for; None = none."""
    problems = _problems(study, source, patients, seed)
    if not problems:
        return None
    enough = patients
    while enough < MOST:
        enough = min(MOST, enough + max(5, enough // 10))
        if not _problems(study, source, enough, seed):
            return TooSmall(problems, enough)
    return TooSmall(problems, None)


def _problems(study: Study, source: str, patients: int, seed: int) -> dict[str, str]:
    opened = _Planned(plan_archive(patients, seed))
    problems = {}
    for name, cohort in study.cohorts.items():
        for draw in SEEDS if cohort.source == source else ():
            try:
                select_by_metadata(name, cohort, opened, draw)
            except CohortError as error:
                problems[name] = error.problem
                break
    return problems


class _Planned(OpenSource):
    """The sound images of a planned archive as rows; there is nothing to read yet."""

    draw_column = "sop_instance_uid"

    def __init__(self, plan: ArchivePlan) -> None:
        said = {report.accession_number: report.decisions for report in plan.reports if report.text is not None}
        sound = [file for file in plan.files if file.fate == KEPT]
        rows = pl.DataFrame(
            [
                {
                    "path": file.path,
                    "original_patient": file.patient_id,
                    "sop_instance_uid": str(file.image),
                    "age": file.age,
                    "sex": file.sex,
                    "view": file.view,
                    **dict.fromkeys(_findings(said)),
                    **said.get(file.accession_number, {}),
                }
                for file in sound
            ],
            infer_schema_length=None,
        )
        rows = rows.with_row_index("row").with_columns(pl.lit(None, pl.String).alias("image_type"))
        super().__init__("plan", rows, pl.DataFrame(schema=LEFT_OUT), "patient_id", Path())

    def map(self, rows, work):  # type: ignore[no-untyped-def]
        raise NotImplementedError("a planned archive has no pixels")


def _findings(said: dict[str, dict[str, str]]) -> list[str]:
    return list(next(iter(said.values()), {}))
