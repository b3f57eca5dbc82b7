"""Bring a store and a place in object storage together: each gets what it lacks of the other, nothing is replaced.

    TARGET/objects/<2 digits>/<sha256>      a file's bytes, named by them
           snapshots/<sha256>.json          which files a store had: path → (sha256, size), and the snapshots before it

Both kinds of object are named by their content and created once, never changed, so that any number of machines may push
at the same time. What changes in a store (headers, documents) is in its next snapshot. Pulling joins the newest
snapshots of the others into this store as `advassay merge` does, after every byte was compared with its name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from filelock import Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advassay.checked_files import damaged, read_document, write_document
from advassay.errors import AdvassayError, AdvassayWarning, DamagedError, MissingLibraryError, SpecError, StoreError
from advassay.optional_libraries import optional_imports
from advassay.progress import Progress, Silent
from advassay.store_documents import RangeFinding
from advassay.store_layout import Store, disk_fault, file_lock, flush, make_folder, writing
from advassay.study.range_search import read_ranges
from advassay.study.store_locks import store_lock
from advassay.study.study_storage import stored_study
from advassay.study.upkeep.merge_stores import MergeSummary, merge

FORMAT = "advassay-sync-1"
PROTOCOLS = ("file", "s3", "gs")
DOCUMENTS = ("study.yaml", "analysis.json", "range_finding.json", "evaluation.json", "compute.json", "forgotten.json")
FOLDERS = ("cohorts", "classifiers", "records", "transfer", "gallery")
"""What of a store is synchronised. Reports are made anew, locks and cluster.json are of one place, the private table of
sources stays where it is."""
HASH = re.compile("[0-9a-f]{64}")
BLOCK = 1 << 23
"""Bytes that are read at a time."""
MOST_SNAPSHOT_BYTES = 256 << 20
MOST_DEPTH = 4

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Snapshot(BaseModel):
    """Which files a store had."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = Field(pattern=f"^{FORMAT}$")
    study: str
    parents: tuple[Sha256, ...] = ()
    """Snapshots that it holds everything of."""
    files: dict[str, tuple[Sha256, Annotated[int, Field(ge=0)]]]

    def content(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class SyncSummary:
    """What was brought where."""

    snapshots: int = 0
    """New snapshots that were pulled."""
    downloaded_files: int = 0
    downloaded_bytes: int = 0
    merged: tuple[MergeSummary, ...] = ()
    uploaded_files: int = 0
    uploaded_bytes: int = 0
    pushed: str = ""
    """The snapshot that was pushed; "" where the target had all of it."""
    differs: tuple[str, ...] = ()
    """Documents that say otherwise on both sides; the store's own was kept."""


def sync(
    store: Store,
    target: str,
    *,
    pull: bool = True,
    push: bool = True,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SyncSummary:
    """Bring into `store` what the target has and it lacks (`pull`), then into the target what it lacks (`push`).

    target: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or a folder. Stopped at any point, the same call goes on. With
    `dry_run` nothing is written on either side. Raises SpecError for another target, MissingLibraryError without the
    extra, StoreError where the target cannot be reached, where it holds what it should not, where a process is at work
    in the store, and as `merge` does: for other studies, a cohort that was prepared otherwise, other weights.
    """
    progress = progress or Silent()
    remote = _Remote.at(target)
    if not store.study.exists() and not (pull and remote.names("snapshots")):
        stored_study(store)  # says that there is no store
    if dry_run:
        return _dry_run(store, remote, pull=pull, push=push)
    with _alone(store):
        summary = _pull(store, remote, progress) if pull else SyncSummary()
        return _push(store, remote, progress, summary) if push else summary


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One synchronisation of a store at a time."""
    try:
        with file_lock(store.sync / "lock", wait=0):
            yield
    except Timeout:
        raise StoreError(
            f"sync: another `advassay sync` of {store.root} is under way.", "Wait for it to end."
        ) from None


# ---- the other side -------------------------------------------------------------------------------------------------


@dataclass
class _Remote:
    """The target: objects that are created and read, never changed."""

    fs: Any
    root: str
    target: str
    local: bool
    _sizes: dict[str, int] | None = field(default=None, repr=False)

    @classmethod
    def at(cls, target: str) -> _Remote:
        """The target, as it is named. Nothing is read yet."""
        protocol, separator, rest = target.partition("://")
        protocol = protocol if separator else "file"
        bucket = rest.partition("/")[0]
        if "::" in target or protocol not in PROTOCOLS or (protocol != "file" and (not bucket or "@" in bucket)):
            raise SpecError(
                f"TARGET: expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or a folder, got {protocol}://….",
                "Credentials are taken from the environment, never from the target.",
            )
        with optional_imports("sync"):
            import fsspec

            try:
                if protocol == "file":
                    fs, root = fsspec.core.url_to_fs(str(Path(rest if separator else target).resolve()))
                else:
                    fs, root = fsspec.core.url_to_fs(target, use_listings_cache=False)
            except ImportError:
                library = "s3fs" if protocol == "s3" else "gcsfs"
                raise MissingLibraryError(
                    f"TARGET: {protocol}:// needs the library {library}, which is not installed.",
                    "pip install 'advassay[sync]'" if protocol == "s3" else "pip install gcsfs",
                ) from None
        return cls(fs, root.rstrip("/"), target, protocol == "file")

    @contextmanager
    def _used(self) -> Iterator[None]:
        """What goes wrong inside is the target's."""
        try:
            yield
        except Exception as error:
            if isinstance(error, AdvassayError) or disk_fault(error) is not None or not _is_of_storage(error):
                raise
            raise StoreError(
                f"sync: {self.target} cannot be read or written ({type(error).__name__}).",
                "Does the bucket or folder exist, and do the credentials in the environment allow reading and writing?",
            ) from None

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder."""
        with self._used():
            try:
                return sorted(found.rsplit("/", 1)[-1] for found in self.fs.ls(self.path(folder), detail=False))
            except FileNotFoundError:
                return []

    def size(self, name: str) -> int:
        with self._used():
            return int(self.fs.info(self.path(name))["size"])

    def sizes(self) -> dict[str, int]:
        """sha256 → size of the objects that are there; listed once."""
        if self._sizes is None:
            with self._used():
                found: dict[str, Any] = self.fs.find(self.path("objects"), detail=True)
            named = ((path.rsplit("/", 1)[-1], about.get("size") or 0) for path, about in found.items())
            self._sizes = {name: int(size) for name, size in named if HASH.fullmatch(name)}
        return self._sizes

    def create(self, name: str, source: Path) -> None:
        """Create an object with a file's bytes; one that is there already is left alone."""
        with source.open("rb") as file, self._used():
            if self.local:
                _create_file(Path(self.path(name)), file)
                return
            try:
                with self.fs.open(self.path(name), "xb") as out:
                    shutil.copyfileobj(file, out, BLOCK)
            except FileExistsError:
                return
            except OSError as error:  # another writer was quicker: S3 answers 412 or 409, GCS 412
                if _is_conflict(error):
                    return
                raise

    def fetch(self, name: str, sha256: str, size: int, to: Path) -> None:
        """Read an object into a file, at most `size` bytes. Raises StoreError where it is not what its name says."""
        with writing(to) as beside, self._used():
            digest, left = hashlib.sha256(), size
            with self.fs.open(self.path(name), "rb") as source, beside.open("wb") as out:
                while block := source.read(min(BLOCK, left + 1)):
                    left -= len(block)
                    if left < 0:
                        break
                    digest.update(block)
                    out.write(block)
            if left or digest.hexdigest() != sha256:
                raise StoreError(
                    f"sync: {self.target}: object {name} is not what its name says: damaged, or changed by someone.",
                    "Delete it there and push again from a store that has it.",
                )


def _create_file(path: Path, file: BinaryIO) -> None:
    """Create a file that is whole as soon as it has its name; one that is there already is left alone."""
    if path.exists():
        return
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.writing")
    try:
        with beside.open("xb") as out:
            shutil.copyfileobj(file, out, BLOCK)
        flush(beside)
        try:
            os.link(beside, path)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise
            os.replace(beside, path)  # no hard links there; the other's bytes are the same
        flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _is_conflict(error: BaseException) -> bool:
    """Whether object storage refused to create what is there already, or is being created."""
    told = f"{error} {error.__cause__ or ''}"
    return any(word in told for word in ("PreconditionFailed", "pre-conditions", "ConditionalRequestConflict", "412"))


def _is_of_storage(error: Exception) -> bool:
    """Whether an error is of the target rather than of this program."""
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or module in ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google")


# ---- snapshots ------------------------------------------------------------------------------------------------------


def check_path(path: str) -> None:
    """Raise StoreError for a path that does not lie in a synchronised folder of a store.

    >>> check_path("records/run/shards/a.parquet")
    >>> check_path("records/../../etc/passwd")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    advassay.errors.StoreError: sync: the target names a file that no store has ('records/../../etc/passwd'). ...
    """
    if not _is_in_store(path):
        raise StoreError(
            f"sync: the target names a file that no store has ({path[:80]!r}).",
            "Who may write there? Nothing of it was taken.",
        )


def _is_in_store(path: str) -> bool:
    """Whether a path is a document of a store or lies in one of its folders, without hidden or odd parts."""
    parts = path.split("/")
    if len(parts) == 1:
        return path in DOCUMENTS
    plain = all(part.isprintable() and "\\" not in part and 0 < len(part.encode()) <= 200 for part in parts)
    return parts[0] in FOLDERS and len(parts) <= MOST_DEPTH and plain and not any(part[0] == "." for part in parts)


def _read_snapshot(remote: _Remote, store: Store, id_: str) -> Snapshot:
    """A snapshot, as its name says. Raises StoreError."""
    name = f"snapshots/{id_}.json"
    size = remote.size(name)
    if size > MOST_SNAPSHOT_BYTES:
        raise StoreError(f"sync: {remote.target}: {name} has {size:,} bytes, at most {MOST_SNAPSHOT_BYTES:,} are read.")
    kept = store.sync / "snapshots" / f"{id_}.json"
    if not kept.exists():
        remote.fetch(name, id_, size, kept)
    try:
        snapshot = Snapshot.model_validate_json(kept.read_bytes())
    except (ValidationError, RecursionError):
        raise StoreError(
            f"sync: {remote.target}: {name} is no snapshot that this version reads.",
            "Was it written by a newer advassay?",
        ) from None
    for path in snapshot.files:
        check_path(path)
    if len({path.casefold() for path in snapshot.files}) < len(snapshot.files):
        raise StoreError(f"sync: {remote.target}: {name} names files that differ in upper and lower case alone.")
    return snapshot


class _Known(BaseModel):
    """Snapshots that a store holds everything of."""

    snapshots: frozenset[Sha256] = frozenset()
    heads: frozenset[Sha256] = frozenset()
    """Those of them that no other one holds."""


def _known(store: Store) -> _Known:
    """What the store holds; where that cannot be read snapshots are joined once more, which changes nothing."""
    try:
        return _Known.model_validate(read_document(store.sync / "known.json", ""))
    except (FileNotFoundError, DamagedError, ValidationError):
        return _Known()


def _keep_known(store: Store, known: _Known) -> None:
    write_document(store.sync / "known.json", known)


def _new_snapshots(remote: _Remote, store: Store) -> tuple[dict[str, Snapshot], list[str]]:
    """(id → snapshots that the store does not hold, those of them that no other one holds)."""
    there = [name.removesuffix(".json") for name in remote.names("snapshots") if name.endswith(".json")]
    known = _known(store).snapshots
    new = {id_: _read_snapshot(remote, store, id_) for id_ in there if HASH.fullmatch(id_) and id_ not in known}
    held = {parent for snapshot in new.values() for parent in snapshot.parents}
    return new, sorted(new.keys() - held)


# ---- pull -----------------------------------------------------------------------------------------------------------


def _pull(store: Store, remote: _Remote, progress: Progress) -> SyncSummary:
    new, heads = _new_snapshots(remote, store)
    summary = SyncSummary(snapshots=len(new))
    for id_ in heads:
        incoming = Store(store.sync / "incoming")
        shutil.rmtree(incoming.root, ignore_errors=True)
        hashes = _Hashes(store)
        files, size = _lay_out(new[id_], incoming, store, remote, hashes, progress)
        if not store.study.exists():
            stored_study(incoming)
            with store_lock(store), writing(store.study) as beside:
                shutil.copyfile(incoming.study, beside)
        differs = _join_documents(store, incoming)
        done = merge(store, incoming)
        summary = replace(
            summary,
            downloaded_files=summary.downloaded_files + files,
            downloaded_bytes=summary.downloaded_bytes + size,
            merged=(*summary.merged, done),
            differs=tuple(dict.fromkeys((*summary.differs, *differs))),
        )
    if new:
        known, held = _known(store), {parent for snapshot in new.values() for parent in snapshot.parents}
        current = (known.heads | {*heads}) - held
        if current == {*heads} and len(heads) == 1:  # the store may now be what another one pushed
            with writing(store.sync / "pushed.json") as beside:
                shutil.copyfile(store.sync / "snapshots" / f"{heads[0]}.json", beside)
        _keep_known(store, _Known(snapshots=known.snapshots | new.keys(), heads=current))
    for folder in ("incoming", "objects", "snapshots"):
        shutil.rmtree(store.sync / folder, ignore_errors=True)
    for text in summary.differs:
        warnings.warn(f"sync: {text}; this store keeps its own.", AdvassayWarning, stacklevel=3)
    return summary


def _lay_out(
    snapshot: Snapshot, incoming: Store, store: Store, remote: _Remote, hashes: _Hashes, progress: Progress
) -> tuple[int, int]:
    """Make the snapshot's store: links to files that are here, the others fetched. Returns (files, bytes) fetched."""
    wanted = {path: about for path, about in snapshot.files.items() if hashes.of_stored(path) != about}
    cached = {sha: size for sha, size in dict(wanted.values()).items() if not (store.sync / "objects" / sha).exists()}
    task = "download"
    progress.start(task, sum(cached.values()) / 1e6, "MB")
    for sha, size in cached.items():
        remote.fetch(f"objects/{sha[:2]}/{sha}", sha, size, store.sync / "objects" / sha)
        progress.advance(task, size / 1e6)
    progress.finish(task)
    for path, (sha, _) in snapshot.files.items():
        _link(store.sync / "objects" / sha if path in wanted else store.root / path, incoming.root / path)
    return len(cached), sum(cached.values())


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the drive has no such links. Files of a store are replaced, never
    changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV):
            raise
        shutil.copy2(source, target)


def _join_documents(store: Store, incoming: Store) -> list[str]:
    """Take the documents that are lacking here, and amplitudes found elsewhere. Returns what differs on both sides."""
    differs = []
    for mine, theirs in ((store.analysis, incoming.analysis), (store.evaluation, incoming.evaluation)):
        if theirs.exists() and not mine.exists():
            read_document(theirs, "Push it again.")
            with writing(mine) as beside:
                shutil.copyfile(theirs, beside)
        elif theirs.exists() and _said(mine) != _said(theirs):
            differs.append(f"{mine.name} says otherwise in the target")
    if incoming.study.read_bytes() != store.study.read_bytes():
        differs.append("study.yaml says otherwise in the target")
    if incoming.compute.exists() and store.compute.exists():
        held, other = (read_document(one.compute, "") for one in (store, incoming))
        differs.extend(
            f"compute.json: {kind} runs by another execution configuration in the target, so that last bits differ"
            for kind in sorted(held.keys() & other.keys())
            if held[kind] != other[kind]
        )
    return [*differs, *_join_ranges(store, incoming)]


def _said(path: Path) -> Any:
    """What a document says; of an analysis plan the plan, not when it was frozen."""
    content = read_document(path, "Restore it from a copy.")
    return content.get("sha256", content)


def _join_ranges(store: Store, incoming: Store) -> list[str]:
    """Take amplitudes that were found elsewhere. Returns what was found otherwise."""
    if not incoming.range_finding.exists():
        return []
    mine, theirs, differs = read_ranges(store), read_ranges(incoming), []
    arms = dict(mine.arms)
    for name, other in theirs.arms.items():
        held = arms.setdefault(name, other)
        for cohort in sorted(held.cohorts.keys() & other.cohorts.keys()):
            if held.cohorts[cohort] != other.cohorts[cohort]:
                differs.append(
                    f"range_finding.json: amplitudes of arm {name}, cohort {cohort} are others in the target"
                )
        epsilons = held.epsilons or other.epsilons
        arms[name] = held.model_copy(update={"cohorts": {**other.cohorts, **held.cohorts}, "epsilons": epsilons})
    if (joined := RangeFinding(arms=arms)) != mine:
        write_document(store.range_finding, joined)
    return differs


# ---- push -----------------------------------------------------------------------------------------------------------


def _push(store: Store, remote: _Remote, progress: Progress, summary: SyncSummary) -> SyncSummary:
    study, outgoing = stored_study(store).name, store.sync / "outgoing"
    shutil.rmtree(outgoing, ignore_errors=True)
    with store_lock(store):  # one moment of the store; what is at work in it meanwhile is refused
        for path in stored_files(store):
            _link(store.root / path, outgoing / path)
    hashes = _Hashes(Store(outgoing), kept=store.sync / "hashes.json")
    files = hashes.all(stored_files(Store(outgoing)), progress)
    known = _known(store)
    there = {name.removesuffix(".json") for name in remote.names("snapshots")}
    parents = tuple(sorted(known.heads & there))
    snapshot = Snapshot(format=FORMAT, study=study, parents=parents, files=files)
    lacking = _lacking(files, remote)
    task, uploaded = "upload", 0
    progress.start(task, sum(size for _, size in lacking.values()) / 1e6, "MB")
    for path, (sha, size) in lacking.items():
        if sha256_of(outgoing / path) != sha:
            raise StoreError(f"sync: {path} changed while it was read.", "Run the same command again.")
        remote.create(f"objects/{sha[:2]}/{sha}", outgoing / path)
        uploaded += size
        progress.advance(task, size / 1e6)
    progress.finish(task)
    pushed = ""
    if (last := _last_pushed(store)) is None or last not in there or lacking or files != _pushed_files(store):
        content = snapshot.content()
        pushed = hashlib.sha256(content).hexdigest()
        with writing(store.sync / "pushed.json") as beside:
            beside.write_bytes(content)
        remote.create(f"snapshots/{pushed}.json", store.sync / "pushed.json")
        _keep_known(store, _Known(snapshots=known.snapshots | {pushed}, heads=frozenset({pushed})))
    shutil.rmtree(outgoing, ignore_errors=True)
    return replace(summary, uploaded_files=len(lacking), uploaded_bytes=uploaded, pushed=pushed)


def _last_pushed(store: Store) -> str | None:
    path = store.sync / "pushed.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _pushed_files(store: Store) -> dict[str, tuple[str, int]]:
    try:
        return Snapshot.model_validate_json((store.sync / "pushed.json").read_bytes()).files
    except (FileNotFoundError, ValidationError):
        return {}


def _lacking(files: Mapping[str, tuple[str, int]], remote: _Remote) -> dict[str, tuple[str, int]]:
    """The files whose bytes the target lacks, each content once. Raises StoreError for an object of another size."""
    there, found, seen = remote.sizes(), {}, set()
    for path, (sha, size) in files.items():
        if sha in there and there[sha] != size:
            raise StoreError(
                f"sync: {remote.target}: object {sha} is damaged: {there[sha]:,} bytes, {size:,} are its content's.",
                "Delete it there; the same command creates it.",
            )
        if sha not in there and sha not in seen:
            found[path] = (sha, size)
            seen.add(sha)
    return found


def stored_files(store: Store) -> list[str]:
    """Paths of the store's files that are synchronised, documents last. Raises StoreError for a link among them: it
    could lead out of the store."""
    found = []
    for folder in FOLDERS:
        top = store.root / folder
        for root, names, files in os.walk(top):
            names[:] = sorted(name for name in names if not name.startswith("."))
            for name in (*names, *sorted(files)):
                path = Path(root) / name
                if path.is_symlink() or top.is_symlink():
                    raise StoreError(
                        f"sync: {path.relative_to(store.root)} is a link, and files of a store are plain files.",
                        "Put the file itself in its place.",
                    )
            found += [
                (Path(root) / name).relative_to(store.root).as_posix()
                for name in sorted(files)
                if not name.startswith(".") and not name.endswith(".damaged")
            ]
    found += [name for name in DOCUMENTS if (store.root / name).is_file() and not (store.root / name).is_symlink()]
    if odd := next((path for path in found if not _is_in_store(path)), None):
        raise StoreError(f"sync: {odd!r} is no file of a store.", "Move it out of the store.")
    return found


# ---- checksums ------------------------------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Hashes:
    """Checksums of a store's files; a file whose size and time of change stayed is not read again."""

    def __init__(self, store: Store, kept: Path | None = None) -> None:
        self.store, self._kept = store, kept or store.sync / "hashes.json"
        try:
            self._before: dict[str, Any] = read_document(self._kept, "")
        except (FileNotFoundError, DamagedError):
            self._before = {}

    def of_stored(self, path: str) -> tuple[str, int] | None:
        """(sha256, size) of a file of the store; None where it is not there."""
        place = self.store.root / path
        try:
            if place.is_symlink() or not place.is_file():
                return None
            about = place.stat()
        except OSError:
            return None
        told = [about.st_size, about.st_mtime_ns, about.st_ino]
        before = self._before.get(path)
        if not (isinstance(before, list) and len(before) == 4 and before[1:] == told):
            self._before[path] = before = [sha256_of(place), *told]
        return str(before[0]), about.st_size

    def all(self, paths: Iterable[str], progress: Progress) -> dict[str, tuple[str, int]]:
        """path → (sha256, size), and keep them for the next time."""
        found, task = {}, "checksums"
        progress.start(task, None, "files")
        for path in paths:
            if (about := self.of_stored(path)) is None:
                raise damaged(self.store.root / path, "it went away while it was read", "Run the same command again.")
            found[path] = about
            progress.advance(task)
        progress.finish(task)
        write_document(self._kept, {path: self._before[path] for path in found})
        return found


# ---- only looking ---------------------------------------------------------------------------------------------------


def _dry_run(store: Store, remote: _Remote, *, pull: bool, push: bool) -> SyncSummary:
    """What `sync` would bring where; snapshots are read into a folder that is removed."""
    summary, hashes = SyncSummary(), _Hashes(store)
    with tempfile.TemporaryDirectory(prefix="advassay-sync-") as folder:
        if pull:
            aside = Store(Path(folder))
            _keep_known(aside, _known(store))
            new, heads = _new_snapshots(remote, aside)
            wanted = dict(
                about for id_ in heads for path, about in new[id_].files.items() if hashes.of_stored(path) != about
            )
            summary = SyncSummary(len(new), len(wanted), sum(wanted.values()))
    if push and store.study.exists():
        files = {path: about for path in stored_files(store) if (about := hashes.of_stored(path)) is not None}
        lacking = _lacking(files, remote)
        summary = replace(
            summary, uploaded_files=len(lacking), uploaded_bytes=sum(size for _, size in lacking.values())
        )
    return summary
