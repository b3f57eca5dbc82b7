"""Which files a DICOM source consists of: a folder's tree, a list, or a DICOMDIR. No file is opened here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from advassay.errors import SourceError
from advassay.sources.file_names import NOT_UTF8, is_text
from advassay.sources.unreadable import MAX_FILE_BYTES, Unreadable

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage


class Found(NamedTuple):
    """One entry: its path below the source's folder ("" where no text can hold it), and why it is not to be opened."""

    path: str
    reason: str | None = None
    detail: str | None = None


def find_files(argument: str, path: Path) -> tuple[Path, list[Found]]:
    """The folder that paths start from, and every entry in a fixed order.

    Links are followed to files inside the folder, never to folders; hidden files and folders are passed over. Raises
    SourceError where `path` is none of the three, or has no entry; `argument` is how messages call it.
    """
    if path.is_dir():
        folder, found = path, list(_tree(path))
    elif path.is_file():
        folder, names = path.parent, _directory(argument, path) if _is_dicomdir(path) else _listed(argument, path)
        found = [_checked(folder, os.path.realpath(folder), name) for name in names]
    else:
        raise SourceError(f"{argument}: a folder, a list or a DICOMDIR is needed, got {path}.", "Check it and --data.")
    if not found:
        raise SourceError(
            f"{argument}: at least one file is needed, got {path.name!r} without any.",
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


def _tree(folder: Path) -> Iterator[Found]:
    root = os.path.realpath(folder)
    errors: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        for name in sorted([*files, *links]):
            if not name.startswith("."):
                yield _checked(folder, root, os.path.relpath(os.path.join(parent, name), folder), parents_are_real=True)
    yield from (Found("", "no permission", "a folder that cannot be listed") for _ in errors)


def _checked(folder: Path, root: str, name: str, parents_are_real: bool = False) -> Found:
    """`root`: the folder with every link in its own path resolved."""
    if not is_text(name):
        return Found("", *NOT_UTF8)
    whole = os.path.join(folder, name)
    if parents_are_real and not os.path.islink(whole):
        return Found(name)
    if os.path.isabs(name) or not os.path.normpath(os.path.join(root, name)).startswith(root.rstrip("/") + "/"):
        return Found("", "link out of the tree", "a path that leaves the source's folder")
    if os.path.islink(whole) and os.path.isdir(whole):
        return Found(name, "link to a folder", "not followed")
    if not os.path.realpath(whole).startswith(root.rstrip("/") + "/"):
        return Found(name, "link out of the tree", "a link that leaves the source's folder")
    return Found(name)


def _listed(argument: str, path: Path) -> list[str]:
    """Paths of a text file, one a line, relative to its folder; empty lines are passed over."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SourceError(f"{argument}: a list of at most {MAX_FILE_BYTES:,} bytes, got {path.stat().st_size:,}.")
    data = path.read_bytes()
    if b"\0" in data or data[128:132] == b"DICM":
        raise SourceError(
            f"{argument}: a folder, a DICOMDIR or a text file with one path per line is needed, got {path.name}.",
            "To read one DICOM file, give its folder.",
        )
    return [line.strip() for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines() if line.strip()]


def _is_dicomdir(path: Path) -> bool:
    with path.open("rb") as file:
        return _MEDIA_DIRECTORY.encode() in file.read(1024)


def _directory(argument: str, path: Path) -> list[str]:
    """(0004,1500) Referenced File ID of every IMAGE record, as paths; see directory.py."""
    from advassay.sources.dicom.crew import Crew

    crew = Crew(1)
    ids = crew.directory(str(path))
    crew.close()
    if isinstance(ids, Unreadable):
        problem = f"{argument}: a DICOMDIR that reads is needed, got {path.name} ({ids.reason})."
        raise SourceError(problem, "Give the folder instead.")
    return [os.path.join(*parts) for parts in ids]
