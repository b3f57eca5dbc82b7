"""Where things lie in a store: the names of its folders and of the files that several rooms meet in.

STORE/study.yaml  analysis.json  range_finding.json  evaluation.json  compute.json  cluster.json  forgotten.json
      .lock  .locks/  .failed/  .sync/
      cohorts/<cohort>/manifest.parquet  images-*.parquet  preparation.json
      classifiers/<id>/model.safetensors  training.json
      records/<run_id>/header.json  images.parquet  shards/*.parquet
      superseded/<run_id>-<weights>/           runs of a network that was trained again to other weights
      transfer/<run_id>/                       attacked images of one network scored by another, as records/
      gallery/
      report/
      reader_study/design.json  answers.csv    what people saw of the attacks (`advassay view --reader-study`)
STORE.sources.parquet        private, beside the store: file paths and original ids
"""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import time
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
    def evaluation(self) -> Path:
        """The model that was handed over, and what was found out about attacks on it besides their rows."""
        return self.root / "evaluation.json"

    @property
    def compute(self) -> Path:
        """The execution configurations of attacks, one per kind of network and image."""
        return self.root / "compute.json"

    @property
    def cluster(self) -> Path:
        """What is under way on a cluster, and which machine attacked what; only where one did."""
        return self.root / "cluster.json"

    @property
    def forgotten(self) -> Path:
        """Salted hashes of images and patients that were taken out, so that they do not come back."""
        return self.root / "forgotten.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that has the whole store, for a moment by each that begins or ends working in it."""
        return self.root / ".lock"

    @property
    def locks(self) -> Path:
        """Locks of the processes at work, of jobs and of documents; gone when the last process ends."""
        return self.root / ".locks"

    @property
    def failed_jobs(self) -> Path:
        """Which jobs ended with an error, for the other parts of a divided run; the error itself is not kept."""
        return self.root / ".failed"

    @property
    def sync(self) -> Path:
        """What `advassay sync` remembers of the place that this store is brought together with, and what it is at."""
        return self.root / ".sync"

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
    def transfers(self) -> Path:
        """Attacked images of one network scored by another one: runs like those of records/, which earlier versions
        would take for attacks on that network."""
        return self.root / "transfer"

    def transfer(self, run_id: str) -> Path:
        return self.transfers / run_id

    @property
    def superseded(self) -> Path:
        """Runs whose network was trained again to other weights; no reader looks here, `advassay prune` removes it."""
        return self.root / "superseded"

    @property
    def gallery(self) -> Path:
        return self.root / "gallery"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def reader_study(self) -> Path:
        """What readers were shown and answered; only where a reader study was held."""
        return self.root / "reader_study"


MANIFEST = "manifest.parquet"
PREPARATION = "preparation.json"
MODEL = "model.safetensors"
TRAINING = "training.json"
HEADER = "header.json"
IMAGES = "images.parquet"
SHARDS = "shards"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write beside, flush to the disk, then rename into place: a reader sees the old file or the new one, never half.

    Yields a temporary path in the same folder (made if needed, same suffix); on an error it is removed. File and
    folder are flushed (fsync), so that a power cut leaves the old file or the new one too. Raises OSError where the
    disk is full, whatever a library that wrote the file made of it.
    """
    make_folder(path.parent)
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"  # process numbers repeat, and two machines may share a folder
    beside = path.with_name(f".{path.stem}.{unique}.writing{path.suffix}")
    try:
        yield beside
        flush(beside)
        os.replace(beside, path)
        flush(path.parent)
    except Exception as error:
        if (number := disk_fault(error)) is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each entry flushed to the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush(folder.parent)


def flush(path: Path) -> None:
    """Ask the operating system to bring a file, or a folder's entries, to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a network drive may not know how: nothing more to ask
            raise
    finally:
        os.close(file)


DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a used-up quota, a file larger than the system lets it be."""


def disk_fault(error: BaseException) -> int | None:
    """The number of the disk fault behind an error; None where the disk is not why.

    Libraries say it in their own words: safetensors "(os error 28)", Arrow "[errno 28]".

    >>> disk_fault(RuntimeError("I/O error: No space left on device (os error 28)")) == errno.ENOSPC
    True
    """
    if isinstance(error, OSError) and error.errno in DISK_FAULTS:
        return error.errno
    text = str(error)
    said = re.search(r"(?:os error|errno) (\d+)", text)
    if said and int(said[1]) in DISK_FAULTS:
        return int(said[1])
    return next((number for number in DISK_FAULTS if os.strerror(number) in text), None)


@contextmanager
def file_lock(path: Path, *, wait: float = -1, remove: bool = False) -> Iterator[None]:
    """Hold the operating system's lock of one file (made if absent); `wait`: at most so many seconds, -1 = for ever.

    It ends with the process that holds it, however that ends. A file system without such locks is refused by the
    system's own error: a lock that consists of a file's being there would outlive a killed process. `remove`: take the
    file away at the end. Raises filelock.Timeout.
    """
    from filelock import FileLock

    make_folder(path.parent)
    with FileLock(path, timeout=wait, fallback_to_soft=False):
        try:
            yield
        finally:
            if remove:  # whoever waits for it finds that its file has no name any more, and begins again
                path.unlink(missing_ok=True)


LEFTOVER = ".*.writing*"
"""What `writing` leaves where its process was killed."""
LEFT_SECONDS = 3600
"""Age from which such a file has been left behind, where no lock says so."""


def clear_leftovers(store: Store, *, only_old: bool = False) -> None:
    """Remove what killed processes left of files they were writing. The caller holds the store's lock.

    only_old: others are at work, and only what is older than `LEFT_SECONDS` goes. So it is with reports, which are
    written without the lock.
    """
    beside = store.root.parent.glob(f".{glob.escape(store.private_sources.stem)}.*.writing*")
    for path in [*store.root.rglob(LEFTOVER), *beside]:
        try:
            young = time.time() - path.stat().st_mtime < LEFT_SECONDS
            if not (young and (only_old or path.is_relative_to(store.report))):
                path.unlink()
        except FileNotFoundError:
            continue
