"""A store as the viewer has it open: records, the report's findings, and whose images may be shown."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from advassay.errors import AdvassayError, StoreError
from advassay.identity import canonical_float
from advassay.records import Records, open_records
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.yaml_limits import load_limited

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

COLUMNS_KEPT = 12
"""Columns of runs that are kept in memory once they were read."""


class NotInStoreError(StoreError):
    """What a request names is not in the store. Exit code 6."""


@dataclass(frozen=True)
class FindingsState:
    """How far the report's numbers are."""

    state: Literal["computing", "ready", "failed"]
    findings: Findings | None = None
    reason: str = ""


class OpenedStore:
    """One store, read only; several requests may use it at a time."""

    def __init__(self, root: Path, *, show_all_images: bool = False) -> None:
        """`show_all_images`: also images of cohorts whose study keeps none for figures (DICOM sources).

        Raises StoreError where `root` is no store with records.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.records: Records = open_records(root)
        self.warnings = [str(one.message) for one in caught]
        """What of the store cannot be read, in sentences."""
        if not self.records.headers:
            raise StoreError(
                f"store: at least one recorded attack is needed, {root.name} holds none.",
                "Run `advassay run STUDY --store STORE`, or `advassay attack`, first.",
            )
        self.store = Store(self.records.root)
        self._show_all_images = show_all_images
        self._state = self._files()
        self._findings = FindingsState("computing")
        self._begun = threading.Lock()
        self._thread: threading.Thread | None = None
        self._column = lru_cache(COLUMNS_KEPT)(self._read_column)

    def has_changed(self) -> bool:
        """Whether files of the store were written since it was opened: what is shown is then as it was."""
        return self._files() != self._state

    def _files(self) -> frozenset[tuple[str, int, int]]:
        """(path, size, time) of the files that the viewer reads; shards by their folder's time, since there may be
        many, and none is written twice."""
        root, patterns = self.store.root, ("study.yaml", "analysis.json", "records/*/header.json", "records/*/shards",
                                           "classifiers/*/model.safetensors", "cohorts/*/preparation.json")  # fmt: skip
        found = set()
        for path in (path for pattern in patterns for path in root.glob(pattern)):
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            found.add((str(path), 0 if path.is_dir() else about.st_size, about.st_mtime_ns))
        return frozenset(found)

    # ---- runs and rows ----------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        """A current run. Raises NotInStoreError."""
        if run_id not in {header.run_id for header in self.records.headers}:
            raise NotInStoreError("run: expected a current run of the store, got another one.", "Take it from a list.")
        return self.records.run(run_id)

    def row(self, run_id: str, image_id: str, step_size: str, epsilon: float) -> int:
        """Index of a row of restart 0 in the run's order. Raises NotInStoreError."""
        run = self.run(run_id)
        index, found = run.index, run.images.with_row_index().filter(image_id=image_id)["index"]
        rows = run.index.points().get((step_size, canonical_float(epsilon)))
        if rows is None or not len(found):
            raise NotInStoreError(
                f"image: expected an image and a point that run {run_id} holds, got others.", "Take them from a list."
            )
        here = np.flatnonzero(index.image[rows] == found[0])
        if not len(here):
            raise NotInStoreError("image: it was not attacked at this ε and step size.", "Take another ε.")
        return rows.start + int(here[0])

    def epsilons(self, run_id: str, step_size: str) -> list[float]:
        """Amplitudes above 0 that the run holds at a step size, rising."""
        points = self.run(run_id).index.points()
        return sorted(epsilon for name, epsilon in points if name == step_size and epsilon > 0)

    def step_sizes(self, run_id: str) -> list[str]:
        """Step sizes that the run holds at an amplitude above 0."""
        return list(dict.fromkeys(name for name, epsilon in self.run(run_id).index.points() if epsilon > 0))

    def column(self, run_id: str, name: str) -> np.ndarray:
        """A column of the run, in its order; kept for a while."""
        return self._column(run_id, name)

    def _read_column(self, run_id: str, name: str) -> np.ndarray:
        return self.run(run_id).column(name)

    # ---- the study --------------------------------------------------------------------------------------------------

    @cached_property
    def study(self) -> Study | None:
        """The store's study; None where it has none that can be read."""
        import yaml

        if not self.records.study_text:
            return None
        try:
            return Study.model_validate(load_limited(self.records.study_text, yaml.SafeLoader))
        except (ValueError, yaml.YAMLError):
            return None

    def may_show(self, cohort: str) -> bool:
        """Whether images of a cohort may be shown: where its study keeps some for figures, or all were asked for."""
        if self._show_all_images:
            return True
        return self.study is not None and cohort in self.study.cohorts and self.study.keeps_gallery(cohort)

    @property
    def title(self) -> str:
        return (self.study.title or self.study.name) if self.study else self.records.root.name

    # ---- findings ---------------------------------------------------------------------------------------------------

    def findings(self) -> FindingsState:
        """The report's findings, or how far they are; the first call begins to compute them beside the caller."""
        with self._begun:
            if self._thread is None:
                self._thread = threading.Thread(target=self._gather, name="findings", daemon=True)
                self._thread.start()
        return self._findings

    def wait_for_findings(self) -> FindingsState:
        """The same once they are computed."""
        self.findings()
        assert self._thread is not None
        self._thread.join()
        return self._findings

    def _gather(self) -> None:
        from advassay.report.data.findings import gather

        try:
            self._findings = FindingsState("ready", gather(self.records))
        except AdvassayError as error:
            self._findings = FindingsState("failed", reason=str(error))
        except Exception as error:
            self._findings = FindingsState("failed", reason=f"{type(error).__name__} while the findings were computed.")
            raise


def network_name(header: RunHeader) -> str:
    """Which network of its cohort a run attacked: "main", or the size and seed of its training.

    >>> network_name(RunHeader.model_construct(primary=True, train_size=80, seed=0))
    'main'
    """
    if header.primary or header.train_size is None:
        return "main"
    return f"{header.train_size} training images, seed {header.seed}"
