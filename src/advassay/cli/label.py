"""`advassay label`: what radiology reports say, as a table."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.progress_bars import progress

if TYPE_CHECKING:
    import polars as pl

    from advassay.sources.reports import Labelled

Reports = Annotated[
    Path,
    typer.Argument(metavar="REPORTS", help="Table of reports (.csv, .tsv or .parquet).", show_default=False),
]
Text = Annotated[
    str, typer.Option("--text", metavar="COLUMNS", help="Columns that make up a report, with commas between.")
]
Id = Annotated[str, typer.Option("--id", metavar="COLUMN", help="Column with the report's id.")]
Language = Annotated[
    Optional[str],  # noqa: UP045 (typer reads Optional)
    typer.Option("--language", metavar="LANGUAGE", help="en, es, ru, or a vocabulary file (.yaml) of your own."),
]
LanguageColumn = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--language-column", metavar="COLUMN", help="Column that names each report's language instead."),
]
Encoding = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--encoding", metavar="NAME", help="Encoding of a CSV, such as cp1251. Default: UTF-8."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Table written (.parquet).")]
LeftOut = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--left-out", metavar="FILE", help="Also write rows that were not read, with the reason (.csv)."),
]

COLUMNS = {
    "(the id column)": "the report's id, under its own name",
    "language": "the vocabulary that read it",
    "norm": "present: the report is nothing but key phrases for a normal chest; absent, uncertain: a finding is "
    "present, uncertain; else not stated",
    "pneumosclerosis": "present, absent, uncertain or not stated; so are all findings",
    "emphysema": "of the lung (not of soft tissue)",
    "fibrosis": "fibrosis, fibrous bands and scars of the lung",
    "pneumonia": "pneumonia",
    "focal_shadows": "nodules and focal shadows, not calcified",
    "bronchitis": "bronchitis",
    "tuberculosis": "any form, its sequelae too",
    "aortic_rotation": "elongated, unfolded, tortuous or rotated aorta",
    "evidence": "list, one per stated label: label, decision, entry and cue of the vocabulary, and where they stand "
    "(column, start, end, cue_start, cue_end in characters); never the text",
}
"""Columns of the table that `label` writes."""


@cli_errors
def label(
    reports: Reports,
    text: Text,
    id: Id,
    output: Output,
    language: Language = None,
    language_column: LanguageColumn = None,
    left_out: LeftOut = None,
    encoding: Encoding = None,
    threads: options.Threads = None,
    quiet: options.QuietOption = False,
) -> None:
    """Read radiology reports: is the chest normal, and which of eight findings are stated.

    Every decision points at the phrase that made it; the table holds no text of the reports, but it holds their ids
    and is readable by its owner only. How well the rules agree with reference labels: docs/results/report-labels.md.

    Example:

        advassay label reports.csv --text findings,impression --id report_id --language en -o labels.parquet
    """
    from advassay.errors import AdvassayWarning, SpecError
    from advassay.sources.reports import label_reports
    from advassay.sources.table_files import read_table

    _require_endings(output, left_out)
    if (language is None) == (language_column is None):
        raise SpecError("label: give --language or --language-column, one of them.", "See `advassay label --help`.")
    columns = [name.strip() for name in text.split(",") if name.strip()]
    table = read_table(reports, text=frozenset([*columns, id]), encoding=encoding, nul=False)
    with progress(quiet) as shown:
        labelled = label_reports(
            table,
            text=columns,
            id=id,
            language=language,
            language_column=language_column,
            processes=threads or len(os.sched_getaffinity(0)),
            progress=shown,
        )
    _write(labelled.frame, output)
    if left_out is not None:
        _write(labelled.left_out, left_out)
    for line in _summary(labelled):
        say(line)
    for warning in labelled.warnings:
        warnings.warn(warning, AdvassayWarning, stacklevel=2)


def _require_endings(output: Path, left_out: Path | None) -> None:
    from advassay.errors import SpecError

    for option, path, ending in (("--output", output, ".parquet"), ("--left-out", left_out, ".csv")):
        if path is not None and (path.suffix.lower() != ending or not path.absolute().parent.is_dir()):
            raise SpecError(
                f"{option}: expected a {ending} file in an existing folder, got {path}.", "Change its name or folder."
            )


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Readable by its owner only: report ids are personal data. Complete or not there at all."""
    from advassay.csv_export import write_csv

    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.touch(mode=0o600)
        if path.suffix.lower() == ".csv":
            write_csv(frame, beside)
        else:
            frame.write_parquet(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _summary(labelled: Labelled) -> list[str]:
    from advassay.sources.reports import LABELS

    frame = labelled.frame
    lines = [f"{frame.height:,} reports read"]
    for name in LABELS:
        counts = dict(frame[name].value_counts().iter_rows())
        stated = ", ".join(f"{counts.get(kind, 0):,} {kind}" for kind in ("present", "absent", "uncertain"))
        lines.append(f"  {name.replace('_', ' ')}: {stated}")
    for reason, count in labelled.counts().items():
        details = labelled.left_out.filter(reason=reason)["detail"].value_counts(sort=True)
        lines.append(f"  left out: {reason}: {count:,}")
        lines += [f"    {detail}: {number:,}" for detail, number in details.sort("detail").iter_rows()]
    return lines
