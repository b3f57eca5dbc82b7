"""`advassay phantoms`: images made by the program, as files, or a whole made-up archive."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.progress_bars import progress


class Kind(StrEnum):
    """What is drawn."""

    chest = "chest"
    histology = "histology"


Archive = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Option("--archive", metavar="FOLDER", help="Write a made-up archive of DICOM files and reports here."),
]
Patients = Annotated[int, typer.Option("--patients", metavar="N", help="People in the archive; about 2 files each.")]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", metavar="FOLDER", help="Write single images (PNG) and manifest.csv here instead."),
]
Phantom = Annotated[Kind, typer.Option("--phantom", help="With --output: which images.")]
Images = Annotated[int, typer.Option("--images", metavar="N", min=1, help="With --output: how many.")]
Size = Annotated[int, typer.Option("--size-px", metavar="PX", min=32, max=1024, help="With --output: side in pixels.")]
Signal = Annotated[
    float,
    typer.Option("--signal", metavar="FACTOR", min=0, help="With --output: strength of what tells the classes apart."),
]
Tuberculosis = Annotated[
    float,
    typer.Option(
        "--tuberculosis",
        metavar="SHARE",
        min=0,
        max=1,
        help="With --output: share of chest patients with tuberculosis.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Random seed.")]


@cli_errors
def phantoms(
    archive: Archive = None,
    patients: Patients = 500,
    output: Output = None,
    phantom: Phantom = Kind.chest,
    images: Images = 100,
    size_px: Size = 256,
    signal: Signal = 1.0,
    tuberculosis: Tuberculosis = 0.0,
    seed: Seed = 0,
    quiet: options.QuietOption = False,
) -> None:
    """Write images made by the program: a whole archive to practise on, or single pictures.

    An archive has 16-bit DICOM chest radiographs in eight transfer syntaxes, laterals, broken and foreign files,
    patients with several visits, ages in legal and illegal forms, a table of reports in English, Spanish and Russian,
    and, in FOLDER/truth, what is true of each file and report. The same seed gives the same bytes. An archive too small
    for studies/archive-example.yaml is written all the same, and how many people that study takes is said.

    Example:

        advassay phantoms --archive runs/archive-in --patients 500
    """
    from advassay.errors import SpecError

    if (archive is None) == (output is None):
        raise SpecError("phantoms: give --archive or --output, one of them.", "See `advassay phantoms --help`.")
    with progress(quiet) as shown:
        if archive is not None:
            from advassay.sources.synthetic_archive import write_archive

            plan = write_archive(archive, patients=patients, seed=seed, progress=shown)
            say(f"{len(plan.files)} files and {len(plan.reports)} reports in {archive}; what is true: {archive}/truth.")
            _say_if_too_small(patients, seed)
        elif output is not None:
            from advassay.sources.phantoms.rendering import write_images
            from advassay.spec.source_spec import PhantomSource

            source = PhantomSource(
                kind="phantoms", phantom=phantom.value, images=images, size_px=size_px, signal=signal, seed=seed,
                prevalence={"tuberculosis": tuberculosis} if tuberculosis else {},
            )  # fmt: skip
            write_images(source, output, shown)
            say(f"{images} images and manifest.csv in {output}.")


def _say_if_too_small(patients: int, seed: int) -> None:
    """How many people studies/archive-example.yaml takes, where an archive of `patients` is too small for it."""
    from advassay.cli.demo import shipped_study
    from advassay.study import load_study
    from advassay.study.config.practice_archive import MOST, check_archive

    study = load_study(shipped_study("archive-example.yaml"), overrides=["archive=archive"])
    too_small = check_archive(study, "archive", patients, seed)
    if too_small is None:
        return
    enough = f"--patients {too_small.patients}" if too_small.patients else f"more than {MOST} patients"
    say(f"Too small for studies/archive-example.yaml, which takes {enough} (with this seed):")
    for cohort, problem in too_small.cohorts.items():
        say(f"  {cohort}: {problem}")
