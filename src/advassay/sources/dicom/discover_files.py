"""Which files a DICOM source consists of: a folder's tree, a list, or a DICOMDIR. No file is opened here."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from advassay.errors import SourceError
from advassay.sources.file_paths import NOT_UTF8, is_text
from advassay.sources.read_failures import MAX_FILE_BYTES, Unreadable

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage


class FileEntry(NamedTuple):
    """One entry: its path below the source's folder ("" where no text can hold it), and why it is not to be opened."""

    path: str
    reason: str | None = None
    detail: str | None = None


def find_files(argument: str, path: Path) -> tuple[Path, list[FileEntry]]:
    """The folder that paths start from, and every entry in a fixed order.

    Links are followed to files inside the folder, never to folders; hidden files and folders are passed over. Files
    that a DICOMDIR names are found under the names they have on the disk (`_on_disk`); in a folder, those that are
    missing are entries with the reason "missing". Raises SourceError where `path` is none of the three, or has no
    entry; `argument` is how messages call it.
    """
    if path.is_dir():
        folder, found = path, list(_tree(path))
        found += _missing_of_media(folder, found)
    elif path.is_file():
        folder = path.parent
        names = _on_disk(folder, _directory(argument, path)) if _is_dicomdir(path) else _listed(argument, path)
        found = [_checked(folder, os.path.realpath(folder), name) for name in names]
    else:
        raise SourceError(f"{argument}: expected a folder, a list or a DICOMDIR, got {path}.", "Check it and --data.")
    if not found:
        raise SourceError(
            f"{argument}: expected at least one file, got {path.name!r} without any.",
            "Hidden files do not count; check the path.",
        )
    return folder, found


def files_state(argument: str, path: Path) -> str:
    """Hash of the entries' names and sizes: what `path` held when something was made of it. Raises like find_files."""
    folder, found = find_files(argument, path)
    state = hashlib.sha256()
    for entry in found:
        state.update(f"{entry.path}\0{entry.reason}\0{_size(os.path.join(folder, entry.path))}\n".encode())
    return state.hexdigest()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _tree(folder: Path) -> Iterator[FileEntry]:
    root = os.path.realpath(folder)
    errors: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        for name in sorted([*files, *links]):
            if not name.startswith("."):
                yield _checked(folder, root, os.path.relpath(os.path.join(parent, name), folder), parents_are_real=True)
    yield from (FileEntry("", "no permission", "a folder that cannot be listed") for _ in errors)


def _checked(folder: Path, root: str, name: str, parents_are_real: bool = False) -> FileEntry:
    """`root`: the folder with every link in its own path resolved."""
    if not is_text(name):
        return FileEntry("", *NOT_UTF8)
    whole = os.path.join(folder, name)
    if parents_are_real and not os.path.islink(whole):
        return FileEntry(name)
    if os.path.isabs(name) or not os.path.normpath(os.path.join(root, name)).startswith(root.rstrip("/") + "/"):
        return FileEntry("", "link out of the tree", "a path that leaves the source's folder")
    if os.path.islink(whole) and os.path.isdir(whole):
        return FileEntry(name, "link to a folder", "not followed")
    if not os.path.realpath(whole).startswith(root.rstrip("/") + "/"):
        return FileEntry(name, "link out of the tree", "a link that leaves the source's folder")
    return FileEntry(name)


def _listed(argument: str, path: Path) -> list[str]:
    """Paths of a text file, one a line, relative to its folder; empty lines are passed over."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SourceError(f"{argument}: a list of at most {MAX_FILE_BYTES:,} bytes, got {path.stat().st_size:,}.")
    data = path.read_bytes()
    if b"\0" in data or data[128:132] == b"DICM":
        raise SourceError(
            f"{argument}: expected a folder, a DICOMDIR or a text file with one path per line, got {path.name}.",
            "To read one DICOM file, give its folder.",
        )
    return [line.strip() for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines() if line.strip()]


def _is_dicomdir(path: Path) -> bool:
    with path.open("rb") as file:
        return _MEDIA_DIRECTORY.encode() in file.read(1024)


def _missing_of_media(folder: Path, found: list[FileEntry]) -> list[FileEntry]:
    """Files that the DICOMDIRs of a tree name and that are not on the disk."""
    named = [entry.path for entry in found if _stem(os.path.basename(entry.path)) == "dicomdir" and not entry.reason]
    missing = []
    for place in named:
        path = folder / place
        try:
            ids = _read_directory(path) if path.is_file() and _is_dicomdir(path) else []
        except OSError:
            continue
        parent = os.path.dirname(place)
        there = {entry.path for entry in found}
        for name in _on_disk(path.parent, ids if not isinstance(ids, Unreadable) else []):
            whole = os.path.normpath(os.path.join(parent, name))
            if whole not in there and not whole.startswith(".."):
                missing.append(FileEntry(whole, "missing", "named by a DICOMDIR, not on the disk"))
    return missing


def _on_disk(folder: Path, names: list[str]) -> list[str]:
    """Each name as the disk spells it: file systems and copying programs write lower case, add endings (.dcm, .gz) or
    versions (;1). The name itself where nothing fits."""
    if all((folder / name).is_file() for name in names):
        return names
    spelled: dict[str, str] = {}
    for entry in _tree(folder):
        spelled.setdefault(_stem(entry.path), entry.path)
    return [name if (folder / name).is_file() else spelled.get(_stem(name), name) for name in names]


_ENDING = re.compile(r"(\.(dcm|dicom|ima|img|gz)|;\d+|\.)$")


def _stem(path: str) -> str:
    """A path in lower case without its endings.

    >>> _stem("PT000000/IM000000"), _stem("pt000000/im000000.DCM.gz"), _stem("IM1.;1")
    ('pt000000/im000000', 'pt000000/im000000', 'im1')
    """
    plain = path.lower().replace(os.sep, "/")
    while (shorter := _ENDING.sub("", plain)) != plain:
        plain = shorter
    return plain


def _directory(argument: str, path: Path) -> list[str]:
    """(0004,1500) Referenced File ID of every IMAGE record, as paths; see open_dicom_file.py."""
    ids = _read_directory(path)
    if isinstance(ids, Unreadable):
        problem = f"{argument}: expected a DICOMDIR that reads, got {path.name} ({ids.reason})."
        raise SourceError(problem, "Give the folder instead.")
    return ids


def _read_directory(path: Path) -> list[str] | Unreadable:
    from advassay.sources.dicom.worker_pool import DicomWorkerPool

    crew = DicomWorkerPool(1)
    ids = crew.directory(str(path))
    crew.close()
    return ids if isinstance(ids, Unreadable) else [os.path.join(*parts) for parts in ids]
