"""Options that several verbs share: one wording, one meaning."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Device(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Replacement(StrEnum):
    """What takes the place of a study's sources."""

    phantoms = "phantoms"


StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file (YAML).", show_default=False)]
StoreFolder = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="Folder that everything is written to, reused to continue; runs/NAME of the study if not given.",
    ),
]
StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store.", show_default=False)]
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data", envvar="ADVASSAY_DATA", metavar="FOLDER", help="Folder that paths in the study start from."),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where networks run; auto takes a GPU if there is one.")]
Threads = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--threads", min=1, metavar="N", help="CPU threads; all cores if not given."),
]
Scale = Annotated[
    float,
    typer.Option(
        "--scale",
        metavar="FACTOR",
        help="Multiply the numbers of images that the study states: phantoms, per_class, train_sizes, attacked images. "
        "Never below 20 images a class (as many phantoms as that takes), 16 training, 8 attacked and 2 control images; "
        "a note names cohorts that stay larger so. A source without per_class keeps all of its images.",
    ),
]
SourceOption = Annotated[
    Optional[Replacement],  # noqa: UP045
    typer.Option(
        "--source",
        help="phantoms: each cohort's `phantom` block in place of its source; cohorts without one must read phantoms.",
    ),
]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the study, e.g. attack.steps=5; repeatable."),
]
KeyFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--key-file", metavar="FILE", help="Secret key of the patients' pseudonyms; it enters no identity."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the data as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; warnings and errors still show.")]
