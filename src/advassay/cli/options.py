"""Options that several verbs share, one wording and one meaning; and the study and environment they give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli.progress_bars import progress

if TYPE_CHECKING:
    from advassay.records import Records
    from advassay.spec.study_spec import Study
    from advassay.study import RunEnvironment
    from advassay.study.run.prepare_stage import Failures


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
        help="Output folder. An existing store is continued. Default: runs/NAME of the study.",
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
        help="Multiply all sample sizes of the study: phantoms, per_class, train_sizes, attacked images. Minimum: "
        "20 images a class, 16 training, 8 attacked and 2 control images. A source without per_class keeps all of "
        "its images.",
    ),
]
SourceOption = Annotated[
    Optional[Replacement],  # noqa: UP045
    typer.Option(
        "--source",
        help="phantoms: replace each source by the cohort's `phantom` block. Every cohort needs one, or phantoms as "
        "its source.",
    ),
]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the study, e.g. attack.steps=5; repeatable."),
]
KeyFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="Secret key for pseudonymising patient IDs. Changing it does not invalidate results.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the data as JSON on stdout.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also say what is set for this process before networks run.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; warnings and errors still show.")]


@dataclass(frozen=True)
class StudyOptions:
    """The options a study verb was given."""

    study: Path
    store: Path | None
    data: Path | None = None
    device: Device = Device.auto
    threads: int | None = None
    scale: float = 1.0
    source: Replacement | None = None
    changes: list[str] | None = None
    key_file: Path | None = None
    quiet: bool = False
    verbose: bool = False

    def read(self) -> Study:
        """The study, with the options applied."""
        from advassay.study import load_study

        return load_study(
            self.study,
            overrides=self.changes or (),
            scale=self.scale,
            phantoms=self.source is Replacement.phantoms,
        )

    def store_of(self, study: Study) -> Path:
        """Where everything goes: --store, else runs/<name of the study>."""
        return self.store or Path("runs") / study.name

    @contextmanager
    def site(self, study: Study, *, runs_networks: bool = False, needs_device: bool = True) -> Iterator[RunEnvironment]:
        """The place to run, with progress shown while inside; `runs_networks`: the process is tuned for that.

        Names are checked first: what cannot be run is refused before PyTorch is loaded. A stage that runs no network
        (not `needs_device`) does not load it at all, unless a GPU is asked for by name.
        """
        from advassay.study import make_environment
        from advassay.study.config.name_checks import check_arms, check_names, store_at

        check_names(study, store_at(self.store_of(study)))
        check_arms(study.attack)
        with progress(self.quiet) as shown:
            here = make_environment(
                self.store_of(study),
                data=self.data,
                device=self.device.value if needs_device or self.device is Device.cuda else "cpu",
                threads=self.threads,
                key_file=self.key_file,
                progress=shown,
            )
            if runs_networks:
                tune_for(here.device, verbose=self.verbose)
            yield here


def tune_for(device: str, *, verbose: bool) -> None:
    """Tune this process where networks run on the processor (`device` is cpu); `verbose`: say what was set."""
    from advassay.cli.error_handling import say
    from advassay.process_tuning import tune_process

    found = tune_process() if device == "cpu" else ()
    if found and verbose:
        say(f"This process: {'; '.join(found)}.")


def say_left_out(failures: Failures, study: Study, here: RunEnvironment) -> None:
    """Say which cohorts a stage went on without; nothing where all could be formed."""
    from advassay.cli.error_handling import say
    from advassay.store_layout import PREPARATION

    if not failures:
        return
    share = f"{len(failures)} of {len(study.cohorts)} cohorts"
    say(f"Left out, because they cannot be formed: {', '.join(failures)} ({share}).")
    if held := [name for name in failures if (here.store.cohort(name) / PREPARATION).exists()]:
        say(f"The store still holds {', '.join(held)} as prepared before; what was recorded of that is kept and shown.")


def say_without_runs(records: Records) -> None:
    """Say which cohorts of the store's study no result can rest on; nothing where all are recorded."""
    from advassay.cli.error_handling import say

    if absent := records.cohorts_without_runs:
        say(f"Not in these results, because the store has no records of them: {', '.join(absent)}.")
