"""`advassay tiles`: whole slides and microscope images cut into tiles."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.progress_bars import progress

if TYPE_CHECKING:
    from advassay.sources.slides import Tiles
    from advassay.spec.tile_spec import SlideClasses, TileRules


class Tissue(StrEnum):
    """What counts as tissue."""

    brightfield = "brightfield"
    fluorescence = "fluorescence"
    any = "any"


class StainNormalisation(StrEnum):
    """How stains are normalised."""

    none = "none"
    macenko = "macenko"


Slides = Annotated[
    Path,
    typer.Argument(
        metavar="SLIDES", help="Folder of slides and microscope images; subfolders too.", show_default=False
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder written, reused to continue.")]
Size = Annotated[int, typer.Option("--size", min=16, max=4096, metavar="PX", help="Side of a tile in pixels.")]
Mpp = Annotated[
    Optional[float],  # noqa: UP045 (typer reads Optional)
    typer.Option(
        "--mpp", metavar="UM", help="Resolution of the tiles in µm per pixel (resampled). Alternative: --level."
    ),
]
Level = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--level", min=0, metavar="N", help="Pyramid level whose pixels are taken as stored; 0 = the finest."),
]
AssumeMpp = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--assume-mpp", metavar="UM", help="µm per pixel of slides that state none. Default: such slides are left out."
    ),
]
TissueOption = Annotated[
    Tissue, typer.Option("--tissue", help="Tissue is coloured (brightfield), bright (fluorescence), or everything.")
]
Channel = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--channel", metavar="NAME", help="Channel of fluorescence files with several: name, or number from 0."
    ),
]
Stain = Annotated[
    StainNormalisation, typer.Option("--stain", help="Normalise haematoxylin and eosin to a reference, or leave them.")
]
MppColumn = Annotated[
    str, typer.Option("--mpp-column", metavar="COLUMN", help="Column with the slide's µm per pixel of level 0.")
]
MinTissue = Annotated[
    float, typer.Option("--min-tissue", min=0, max=1, help="Least share of a tile that is tissue; less is background.")
]
MaxPen = Annotated[float, typer.Option("--max-pen", min=0, max=1, help="Largest share of a tile under marker ink.")]
MinSharpness = Annotated[
    float,
    typer.Option("--min-sharpness", min=0, help="Least variance of the Laplacian (values 0-255); less is blurred."),
]
KeepAll = Annotated[bool, typer.Option("--keep-all", help="Reject nothing: every whole tile that can be read.")]
PerSlide = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--per-slide", min=1, metavar="N", help="At most N tiles per slide and class, drawn by content."),
]
Seed = Annotated[int, typer.Option("--seed", help="Random seed of --per-slide.")]
Table = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--table", metavar="FILE", help="CSV or Parquet with one row a slide: class, patient, organ, …"),
]
SlideColumn = Annotated[
    str, typer.Option("--slide-column", metavar="COLUMN", help="Column with the slide's file name.")
]
LabelColumn = Annotated[str, typer.Option("--label-column", metavar="COLUMN", help="Column with the slide's class.")]
PatientColumn = Annotated[str, typer.Option("--patient-column", metavar="COLUMN", help="Column with the patient.")]
PatientPattern = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--patient-pattern",
        metavar="REGEX",
        help="Regular expression; its first group is the patient in a file's name.",
    ),
]
Annotations = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--annotations", metavar="FOLDER", help="Region files named like the slides: GeoJSON (QuPath's too), ASAP XML."
    ),
]
Masks = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--masks", metavar="FOLDER", help="Mask images named like the slides; grey values are classes."),
]
RegionsOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--region",
        metavar="NAME=CLASS",
        help='Region name or mask value and its class; "NAME=-" cuts out; repeatable. Others are then ignored.',
    ),
]
Outside = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--outside", metavar="CLASS", help="Class of tiles that no region touches. Default: such tiles are left out."
    ),
]
MinShare = Annotated[float, typer.Option("--min-share", min=0, max=1, help="Least share of a tile in its class.")]

HINTS = {
    "several channels": "--channel NAME takes one of them",
    "no resolution stated": "--assume-mpp UM takes them at that many µm per pixel; without --mpp none is needed",
    "background": "--tissue fluorescence for dark slides, --tissue any or a lower --min-tissue to keep more",
}
"""Reason → options that change it, said where a reason took all tiles of a slide, or most of all cells."""

COLUMNS = {
    "image": "path of the tile, from the folder of the table",
    "slide_id": "pseudonym of the slide, from its content; which file it is, the private table beside the folder says",
    "patient_id": "pseudonym of the patient; the slide's where no patient is known",
    "patient_from": "table, name (of the file) or slide (no patient known)",
    "label": "the class; empty where nothing says one",
    "label_share": "share of the tile's area in regions of its class; 1 where the class is the slide's",
    "x": "left edge in pixels of level 0",
    "y": "upper edge in pixels of level 0",
    "level": "pyramid level that was read",
    "mpp": "µm per pixel of the tile as written; empty where unknown",
    "tissue_share": "share of the tile's area that is tissue",
    "sharpness": "variance of the Laplacian (values 0 to 255) of its sharpest channel",
    "(columns of --table)": "age, sex, organ, stain, … as a study's sources let them through",
}
"""Columns of the tables that `tiles` writes (manifest.csv, manifest.parquet)."""


@cli_errors
def tiles(
    slides: Slides,
    output: Output,
    size: Size = 256,
    mpp: Mpp = None,
    level: Level = None,
    assume_mpp: AssumeMpp = None,
    tissue: TissueOption = Tissue.brightfield,
    channel: Channel = None,
    stain: Stain = StainNormalisation.none,
    min_tissue: MinTissue = 0.5,
    max_pen: MaxPen = 0.05,
    min_sharpness: MinSharpness = 15.0,
    keep_all: KeepAll = False,
    per_slide: PerSlide = None,
    seed: Seed = 0,
    table: Table = None,
    slide_column: SlideColumn = "slide",
    label_column: LabelColumn = "label",
    patient_column: PatientColumn = "patient_id",
    mpp_column: MppColumn = "mpp",
    patient_pattern: PatientPattern = None,
    annotations: Annotations = None,
    masks: Masks = None,
    region: RegionsOption = None,
    outside: Outside = None,
    min_share: MinShare = 0.5,
    key_file: options.KeyFile = None,
    quiet: options.QuietOption = False,
) -> None:
    """Cut whole slides and microscope images into tiles, with a manifest that a study can use as a table.

    Written: images/CLASS/*.png (lossless), manifest.csv and .parquet (a row a tile), slides.csv (a row a slide: counts
    of every reason, or why it was left out), thumbnails/ with the chosen tiles drawn; and beside the folder
    OUTPUT.sources.csv, which says which file is which slide and is readable by its owner only. Names of slides and
    patients are pseudonyms everywhere else. If it is stopped, the same command continues.

    Example:

        advassay tiles slides/ -o tiles/ --size 256 --mpp 0.5 --table slides.csv --per-slide 250
    """
    from advassay.errors import SpecError
    from advassay.sources import pseudonym_key
    from advassay.sources.slides import SlidePaths, make_tiles

    if mpp is not None and level is not None:
        raise SpecError(f"tiles: --mpp or --level, one of them, got {mpp:g} and {level}.", "Leave one out.")
    sharp, pen = (0.0, 1.0) if keep_all else (min_sharpness, max_pen)
    rules = {
        **{"size_px": size, "mpp": mpp, "level": level or 0, "assume_mpp": assume_mpp, "seed": seed},
        **{"tissue": "any" if keep_all else tissue.value, "min_tissue": 0.0 if keep_all else min_tissue},
        **{"max_pen": pen, "min_sharpness": sharp, "tiles_per_slide": per_slide},
        **{"min_scanned": 0.0 if keep_all else 1.0, "channel": channel, "stain_normalisation": stain.value},
    }
    classes = {
        **{"table": _text(table), "annotations": _text(annotations), "masks": _text(masks), "outside": outside},
        **{"slide": slide_column, "label": label_column, "mpp": mpp_column, "patient_pattern": patient_pattern},
        **{"regions": _regions(region or []), "min_share": min_share},
    }
    checked_rules, checked_classes = _checked(rules, classes)
    with progress(quiet) as shown:
        made = make_tiles(
            SlidePaths(slides, table, annotations, masks),
            output,
            checked_rules,
            checked_classes,
            key=pseudonym_key(key_file, "tiles"),
            patient=patient_column,
            progress=shown,
        )
    for line in summary(made):
        say(line)
    say(f"Written to {output}; as a study's source: {{kind: table, path: {output.name}/manifest.csv}}.")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _regions(pairs: list[str]) -> dict[str, str]:
    from advassay.errors import SpecError

    regions = {}
    for pair in pairs:
        name, equals, wanted = pair.rpartition("=")
        if not (name and equals and wanted):
            raise SpecError(f"--region: expected NAME=CLASS, got {pair!r}.", "E.g. --region Tumor=tumour.")
        regions[name] = wanted
    return regions


def _checked(rules: dict[str, Any], classes: dict[str, Any]) -> tuple[TileRules, SlideClasses]:
    from pydantic import ValidationError

    from advassay.errors import SpecError
    from advassay.spec.tile_spec import SlideClasses, TileRules

    try:
        return TileRules(**rules), SlideClasses(**classes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "tiles"
        raise SpecError(f"{where}: {first['msg']}, got {first['input']!r}.", "See `advassay tiles --help`.") from None


def _hint(reason: str, worth_it: bool) -> str:
    return f" ({HINTS[reason]})" if worth_it and reason in HINTS else ""


def summary(made: Tiles) -> list[str]:
    """What was made, in lines for people: counts only, no names."""
    import polars as pl

    read = made.slides.filter(pl.col("status") == "read")
    lines = [f"{made.manifest.height:,} tiles from {read.height:,} of {made.slides.height:,} slides"]
    labels = made.manifest["label"].drop_nulls().value_counts().sort("label")
    lines += [f"  {label}: {count:,}" for label, count in labels.iter_rows()]
    start = read.columns.index("tiles") + 1
    out = {name.replace("_", " "): n for name in read.columns[start:] if (n := read[name].sum())}
    lines += [f"  no tile: {reason}: {n:,}{_hint(reason, 2 * n > read['cells'].sum())}" for reason, n in out.items()]
    lost = made.slides.filter(pl.col("status") == "left out")["reason"].value_counts().sort("reason")
    lines += [f"  slide left out: {reason}: {count:,}{_hint(reason, True)}" for reason, count in lost.iter_rows()]
    if made.manifest.height and made.manifest["label"].null_count() == made.manifest.height:
        lines.append("  no tile has a class: --table FILE names each slide's; --annotations or --masks draw them")
    if made.others:
        lines.append("  not slides: " + ", ".join(f"{ending} {count}" for ending, count in made.others.items()))
    if made.not_carried:
        lines.append(f"  columns of the table not carried along: {', '.join(sorted(made.not_carried))}")
    return lines
