"""`advassay regions`: looking over the regions of a cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions
from advassay.cli.progress_bars import progress

COLUMNS = {
    "image_id": "the image, by content",
    "kept": "whether it is in the cohort, as far as its region goes",
    "reason": "why it is left out",
    "confidence": "0 to 1: how surely the region was found",
    "left": "edge of the region in pixels of the stored image",
    "top": "likewise",
    "right": "likewise",
    "bottom": "likewise",
    "sheet": "number of the contact sheet that shows it; empty where it was not drawn",
    "place": "its place on the sheet, row by row",
}
"""Columns of found.csv and of --json, with their meaning."""

Cohort = Annotated[str, typer.Option("--cohort", metavar="NAME", help="A cohort of the study with a region.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for sheets and lists.")]
Most = Annotated[
    Optional[int],  # noqa: UP045 (typer reads Optional)
    typer.Option("--most", min=1, metavar="N", help="Draw at most N images, the least sure; found.csv has all."),
]


@cli_errors
def regions(
    study: options.StudyFile,
    cohort: Cohort,
    output: Output,
    data: options.Data = None,
    most: Most = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
) -> None:
    """Find the region of a cohort's images and draw it on contact sheets.

    Writes sheet-001.png, … (the least sure images first; yellow: the lungs as found, green: the region kept, red:
    left out), found.csv, and accept.csv and
    reject.csv to edit: copy lines of found.csv into them and name them in the study as the region's `accept` and
    `reject`. The next `prepare` or `run` honours them. The sheets show whole images: keep them where the images may be.

    Example:

        advassay regions studies/phantoms.yaml --cohort X-AO --set cohorts.X-AO.region=aorta -o sheets/
    """
    from advassay.cohorts.regions.region_review import export_review
    from advassay.errors import SpecError
    from advassay.study.path_privacy import split_absolute_path

    read = StudyOptions(study, None, data, scale=scale, source=source, changes=changes).read()
    if cohort not in read.cohorts:
        raise SpecError(f"--cohort: one of {', '.join(read.cohorts)}, got {cohort!r}.")
    spec = read.cohorts[cohort]
    where, folder = split_absolute_path(read.sources[spec.source], data)
    with progress(quiet) as shown:
        table = export_review(cohort, spec, where, data=folder, out=output, most=most, progress=shown)
    if as_json:
        print(json.dumps(table.to_dicts(), ensure_ascii=False))
    say(f"{table['kept'].sum()} of {table.height} images kept; sheets and lists are in {output}.")
