"""A store's records, opened for reading: runs, preparations, trainings, gallery, outcomes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from advassay import store_layout
from advassay.checked_files import damaged, is_as_written, read_model
from advassay.errors import AdvassayWarning, StoreError
from advassay.records.current_runs import current_runs, current_transfers
from advassay.records.gallery import Example, read_gallery
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run, read_header
from advassay.spec.attack_spec import parse_step_size, step_size_name
from advassay.spec.study_spec import Study
from advassay.store_documents import AnalysisDocument, ClusterDocument, Preparation, RangeFinding, TrainingDocument
from advassay.yaml_limits import load_limited

if TYPE_CHECKING:
    import polars as pl

Document = TypeVar("Document", Preparation, TrainingDocument)


class Records:
    """Everything a store knows about what was attacked and how it went. Reads only; needs no torch, no GPU.

    headers      current declared runs, by cohort, arm, train size, seed
    reruns       runs that attack flagged images of a declared run again
    superseded   runs that study.yaml no longer asks for, or whose place another run has taken
    transfers    attacked images of one network scored by another (and by itself), as the study asks for them
    """

    def __init__(self, root: Path, folders: Sequence[Path]) -> None:
        self.root = root
        self._store = store_layout.Store(root)
        runs = sorted((Run(folder) for folder in folders), key=_place)
        self._runs = {run.header.run_id: run for run in runs}
        declared = [run.header for run in runs if run.header.rerun_of is None]
        current = current_runs(declared, self._study, self.preparations, self.trainings)
        self.headers: list[RunHeader] = [header for header in declared if header.run_id in current]
        self.superseded: list[RunHeader] = [header for header in declared if header.run_id not in current]
        self.reruns: list[RunHeader] = [run.header for run in runs if run.header.rerun_of in current]
        self.transfers: tuple[Run, ...] = self._transfers()

    def __repr__(self) -> str:
        return f"Records({str(self.root)!r}, {len(self.headers)} runs of {len(self.cohorts)} cohorts)"

    def run(self, run_id: str) -> Run:
        """The run of this id. Raises StoreError where there is none."""
        if run_id not in self._runs:
            raise StoreError(f"run_id: one of {sorted(self._runs)}, got {run_id!r}.")
        return self._runs[run_id]

    def _transfers(self) -> tuple[Run, ...]:
        folders = sorted(path.parent for path in self._store.transfers.glob(f"*/{store_layout.HEADER}"))
        runs = [Run(folder) for folder in _own_folders(folders, "transfer")]
        headers = [run.header for run in runs]
        current = current_transfers(headers, self._study, self.preparations, self.trainings)
        return tuple(run for run in runs if run.header.run_id in current)

    @property
    def runs(self) -> list[Run]:
        """The current declared runs, in the order of `headers`."""
        return [self._runs[header.run_id] for header in self.headers]

    @property
    def cohorts(self) -> list[str]:
        """Cohort ids with records, in the study's order where it is known, else by name."""
        found = dict.fromkeys(header.cohort for header in self.headers)
        declared = [name for name in self._study_order if name in found]
        return declared + [name for name in found if name not in declared]

    @property
    def cohorts_without_runs(self) -> list[str]:
        """Cohorts of the study that nothing is recorded of (they could not be formed, or are still to be attacked), in
        the study's order; empty where the store has no study."""
        return [name for name in self._study_order if name not in self.cohorts]

    @property
    def arms(self) -> list[str]:
        """Arm names, the main one first."""
        position = {header.arm: header.arm_position for header in self.headers}
        return sorted(position, key=lambda arm: (position[arm], arm))

    @property
    def main_arm(self) -> str:
        """The arm of the main curves: the study's first. Raises StoreError where nothing is recorded."""
        if not self.arms:
            raise StoreError(f"{self.root}: no run is recorded yet.", "Run `advassay attack` or `advassay run` first.")
        return self.arms[0]

    def step_sizes(self, arm: str) -> tuple[str, ...]:
        """Names of the step sizes recorded for an arm, in the order the study declares them.

        By name where the store has no study.yaml; one that the study no longer declares comes last. Empty for an arm
        without records.
        """
        found = {point.step_size for header in self.headers if header.arm == arm for point in header.points}
        declared = [name for name in self._declared_step_sizes(arm) if name in found]
        return (*declared, *sorted(found.difference(declared)))

    def _declared_step_sizes(self, arm: str) -> list[str]:
        attack = self._study_as_text.get("attack") or {}
        own = (attack.get("arms") or {}).get(arm) or {}
        rules = own.get("step_sizes") or attack.get("step_sizes") or ()
        return [step_size_name(parse_step_size(rule)) for rule in rules]

    @cached_property
    def _study(self) -> dict[str, Any]:
        """study.yaml as plain data; empty where the store has none. Raises DamagedError where it is no study."""
        import yaml

        if not self._store.study.exists():
            return {}
        try:
            study = load_limited(self.study_text, yaml.SafeLoader)
        except (yaml.YAMLError, ValueError):
            study = None
        if not isinstance(study, dict):
            raise damaged(self._store.study, "it is no study", STUDY_HEALED)
        if is_as_written(self.study_text) is False:
            if not _is_study(study):
                raise damaged(self._store.study, "it is no whole study", STUDY_HEALED)
            warnings.warn(EDITED, AdvassayWarning, stacklevel=5)
        return study

    @cached_property
    def _study_as_text(self) -> dict[str, Any]:
        """The same with every name and value as text: a cohort may be called 010 or no."""
        import yaml

        return load_limited(self.study_text, yaml.BaseLoader) or {} if self._study else {}

    @property
    def _study_order(self) -> list[str]:
        return list(self._study_as_text.get("cohorts") or {})

    @property
    def study_text(self) -> str:
        """study.yaml as resolved; empty where the store has none. Raises DamagedError where it is no text."""
        try:
            return self._store.study.read_text(encoding="utf-8") if self._store.study.exists() else ""
        except (OSError, UnicodeDecodeError):
            raise damaged(self._store.study, "it is no text", STUDY_HEALED) from None

    @cached_property
    def analysis(self) -> AnalysisDocument | None:
        """The analysis plan as frozen, with its later changes; None for a store attacked before plans were kept.

        Raises DamagedError where the file does not hold the plan that was frozen.
        """
        return read_analysis(self.root)

    @cached_property
    def range_finding(self) -> RangeFinding | None:
        """On what the amplitudes of arms with `epsilons: auto` rest; None where every arm stated its own."""
        return read_range_finding(self.root)

    @cached_property
    def preparations(self) -> dict[str, Preparation]:
        """cohort → how it was prepared, where the store holds that."""
        paths = sorted((self.root / "cohorts").glob(f"*/{store_layout.PREPARATION}"))
        found = {path: read_model(path, Preparation, PREPARATION_HEALED) for path in paths}
        return {document.cohort: document for document in _in_own_folder(found, lambda one: one.cohort)}

    @cached_property
    def trainings(self) -> list[TrainingDocument]:
        """How every recorded network was trained (and networks trained but not attacked yet), by cohort and size."""
        paths = sorted((self.root / "classifiers").glob(f"*/{store_layout.TRAINING}"))
        found = {path: read_model(path, TrainingDocument, TRAINING_HEALED) for path in paths}
        documents = _in_own_folder(found, lambda one: one.classifier)
        return sorted(documents, key=lambda document: (document.cohort, document.train_size, document.seed))

    def training(self, classifier: str) -> TrainingDocument | None:
        """The document of one network; None for a foreign classifier."""
        return next((document for document in self.trainings if document.classifier == classifier), None)

    def gallery(self) -> list[Example]:
        """The few images kept for figures, with what was predicted for them."""
        return read_gallery(self._store.gallery)

    def outcomes(self) -> pl.LazyFrame:
        """One row per image × step size × ε × iteration of every current run; see records/outcomes.py."""
        from advassay.records.outcomes import scan_outcomes

        return scan_outcomes(self.runs)

    @property
    def damaged(self) -> dict[str, tuple[str, ...]]:
        """run_id → shards that cannot be read; their rows count as missing. Empty when all is well."""
        return {run.header.run_id: run.damaged for run in self._counted if run.damaged}

    @property
    def _counted(self) -> list[Run]:
        """Runs that numbers are made of: the current ones, their re-runs, and transfers."""
        return [*(self._runs[header.run_id] for header in (*self.headers, *self.reruns)), *self.transfers]

    def tell_damage(self) -> None:
        """Warn of every run of which something cannot be read, with the number of images missing."""
        for run in self._counted:
            if told := run.damage():
                warnings.warn(told, AdvassayWarning, stacklevel=3)


def read_analysis(root: Path) -> AnalysisDocument | None:
    """The frozen analysis plan of the store at `root`; None where there is none.

    Raises DamagedError where the file does not hold the plan that was frozen.
    """
    path = store_layout.Store(root).analysis
    return read_model(path, AnalysisDocument, ANALYSIS_HEALED) if path.exists() else None


def read_range_finding(root: Path) -> RangeFinding | None:
    """What the store at `root` holds of range-finding; None where it has none. Raises DamagedError."""
    path = store_layout.Store(root).range_finding
    return read_model(path, RangeFinding, RANGES_HEALED) if path.exists() else None


def read_cluster(root: Path) -> ClusterDocument | None:
    """What the store at `root` knows of the clusters that filled it; None where none did.

    Raises DamagedError: the kind of machine that the store is filled on would be forgotten.
    """
    path = store_layout.Store(root).cluster
    return read_model(path, ClusterDocument, CLUSTER_HEALED) if path.exists() else None


def open_records(path: str | Path) -> Records:
    """Open a store, its records folder, or the folder of a single run.

    Raises StoreError where `path` holds no records, FormatError where they were written in a newer format, DamagedError
    where a document cannot be read. A run folder without a header (made an instant before the program was killed) is
    left out with a warning; so are the rows of a damaged shard, with the number of images missing.
    """
    records = _opened(Path(path))
    records.tell_damage()
    return records


def _opened(root: Path) -> Records:
    if (root / store_layout.HEADER).is_file():
        return Records(root, [root])
    folder = store_layout.Store(root).records if store_layout.Store(root).records.is_dir() else root
    if not folder.is_dir():
        raise StoreError(f"path: no such folder: {root}.", "Give the folder passed as --store.")
    candidates = sorted(
        p for p in folder.iterdir() if p.is_dir() and ((p / store_layout.SHARDS).exists() or _headed(p))
    )
    without = [p.name for p in candidates if not _headed(p)]
    if without:
        warnings.warn(
            f"runs without {store_layout.HEADER}, left out: {', '.join(without)}", AdvassayWarning, stacklevel=3
        )
    if folder == root and not candidates:
        if store_layout.Store(root).study.exists():
            return Records(root, [])  # prepared or trained, not attacked yet
        raise StoreError(f"path: expected a store with records/, got {root}.", "Give the folder passed as --store.")
    store = folder.parent if folder.name == "records" else root
    return Records(store, _own_folders(p for p in candidates if _headed(p)))


def _own_folders(folders: Iterable[Path], place: str = "records") -> list[Path]:
    """The folders that are named by the run they hold; others, copies that somebody made, are left out and said."""
    found = {folder: read_header(folder).run_id for folder in folders}
    if copies := [folder.name for folder, run_id in found.items() if folder.name != run_id]:
        warnings.warn(NOT_NAMED.format(place, ", ".join(copies), "run"), AdvassayWarning, stacklevel=4)
    return [folder for folder, run_id in found.items() if folder.name == run_id]


def _in_own_folder(found: Mapping[Path, Document], named: Callable[[Document], str]) -> list[Document]:
    """Path → document: those that lie in the folder that is named by them; others are left out and said."""
    copies = [path.parent for path, document in found.items() if path.parent.name != named(document)]
    if copies:
        names = ", ".join(folder.name for folder in copies)
        what = "cohort" if copies[0].parent.name == "cohorts" else "network"
        warnings.warn(NOT_NAMED.format(copies[0].parent.name, names, what), AdvassayWarning, stacklevel=6)
    return [document for path, document in found.items() if path.parent not in copies]


def _headed(folder: Path) -> bool:
    return (folder / store_layout.HEADER).is_file()


def _place(run: Run) -> tuple[str, int, str, int, int, str]:
    header = run.header
    return (header.cohort, header.arm_position, header.arm, header.train_size or 0, header.seed or 0, header.run_id)


def _is_study(content: dict[str, Any]) -> bool:
    try:
        Study.model_validate(content)
    except ValueError:
        return False
    return True


NOT_NAMED = (
    "{}/: {} are not named by their {}: they were copied or renamed, and are left out. Move copies out of the store."
)
EDITED = "study.yaml of the store is not as it was written: it was edited by hand, or is damaged."
STUDY_HEALED = "`advassay attack STUDY --store` with the same study writes it anew."
PREPARATION_HEALED = "`advassay prepare` with the same study and --store prepares the cohort anew."
TRAINING_HEALED = "`advassay train` with the same study and --store trains the network anew."
ANALYSIS_HEALED = "Restore it from a copy; without one, delete it: the plan is then frozen anew and not pre-specified."
CLUSTER_HEALED = (
    "Remove it if all machines that fill this store are of one kind; the next `advassay run --on ray` writes it."
)
RANGES_HEALED = "Delete it: `advassay attack` with the same study and --store finds the amplitudes anew."
"""What to do where a document is damaged."""
