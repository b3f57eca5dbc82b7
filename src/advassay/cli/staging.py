"""What the verbs over a study share: reading it with its options, and a place to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.cli.options import Device, Replacement
from advassay.cli.progress import progress

if TYPE_CHECKING:
    from advassay.records import Records
    from advassay.specs import Study
    from advassay.study import Site
    from advassay.study.preparing import Failures


@dataclass(frozen=True)
class Asked:
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
    def site(self, study: Study) -> Iterator[Site]:
        """The place to run, with progress shown while inside."""
        from advassay.study import site

        with progress(self.quiet) as shown:
            yield site(
                self.store_of(study),
                data=self.data,
                device=self.device.value,
                threads=self.threads,
                key_file=self.key_file,
                progress=shown,
            )


def say_left_out(failures: Failures, study: Study, here: Site) -> None:
    """Say which cohorts a stage went on without; nothing where all could be formed."""
    from advassay.cli.clean import say
    from advassay.layout import PREPARATION

    if not failures:
        return
    share = f"{len(failures)} of {len(study.cohorts)} cohorts"
    say(f"Left out, since they cannot be formed: {', '.join(failures)} ({share}).")
    if held := [name for name in failures if (here.store.cohort(name) / PREPARATION).exists()]:
        say(f"The store still holds {', '.join(held)} as prepared before; what was recorded of that is kept and shown.")


def say_without_runs(records: Records) -> None:
    """Say which cohorts of the store's study no result can rest on; nothing where all are recorded."""
    from advassay.cli.clean import say

    if absent := records.cohorts_without_runs:
        say(f"Not in these results, since nothing is recorded of them: {', '.join(absent)}.")
