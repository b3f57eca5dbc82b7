"""Where things lie in a store: the names of its folders and of the files that several rooms meet in.

STORE/study.yaml  analysis.json  range_finding.json  compute.json  .lock
      cohorts/<cohort>/manifest.parquet  images-*.parquet  preparation.json
      classifiers/<id>/model.safetensors  training.json
      records/<run_id>/header.json  images.parquet  shards/*.parquet
      gallery/
      report/
STORE.sources.parquet        private, beside the store: file paths and original ids
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Store:
    """Paths of one store; nothing is created until a stage writes."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def analysis(self) -> Path:
        """The analysis plan as frozen before the first attack, and its later changes."""
        return self.root / "analysis.json"

    @property
    def range_finding(self) -> Path:
        """The amplitudes found for arms that declare `epsilons: auto`."""
        return self.root / "range_finding.json"

    @property
    def compute(self) -> Path:
        """The compute shapes of attacks, one per kind of network and image."""
        return self.root / "compute.json"

    @property
    def lock(self) -> Path:
        """Locked (flock) by the process that writes."""
        return self.root / ".lock"

    @property
    def private_sources(self) -> Path:
        return self.root.parent / f"{self.root.name}.sources.parquet"

    def cohort(self, name: str) -> Path:
        return self.root / "cohorts" / name

    def classifier(self, identity: str) -> Path:
        return self.root / "classifiers" / identity

    @property
    def records(self) -> Path:
        return self.root / "records"

    def run(self, run_id: str) -> Path:
        return self.records / run_id

    @property
    def gallery(self) -> Path:
        return self.root / "gallery"

    @property
    def report(self) -> Path:
        return self.root / "report"


MANIFEST = "manifest.parquet"
PREPARATION = "preparation.json"
MODEL = "model.safetensors"
TRAINING = "training.json"
HEADER = "header.json"
IMAGES = "images.parquet"
SHARDS = "shards"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write beside, then rename into place: a reader sees the old file or the new one, never half of one.

    Yields a temporary path in the same folder (made if needed, same suffix); on an error it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
