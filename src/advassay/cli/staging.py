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
    from advassay.specs import Study
    from advassay.study import Site


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
