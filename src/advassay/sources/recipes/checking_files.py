"""Files, their columns and checksums against the published ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from advassay.errors import SourceError
from advassay.progress import Progress
from advassay.sources.recipes.finding import matching
from advassay.sources.recipes.findings import Finding, Status, counted
from advassay.sources.recipes.joining import read_text_table
from advassay.sources.recipes.recipe_spec import Expected, ExpectedFile

_CHUNK = 1 << 24


def file_findings(expected: Expected, folder: Path, paths: Sequence[str], progress: Progress) -> Iterator[Finding]:
    """Findings about every file the set should have besides its images."""
    for file in expected.files:
        found = matching(paths, file.path)
        yield _presence(file, found)
        for path in found if file.md5 else ():
            yield _checksum(file, folder / path, progress)
        if found and file.columns:
            yield _columns(file, folder / found[0])


def _presence(file: ExpectedFile, found: Sequence[str]) -> Finding:
    what = f"{file.path} ({file.what})"
    if not found and not file.needed:
        return Finding("note", "files", what, "not here")
    if file.count is not None:
        return counted("files", what, len(found), file.count)
    return Finding("ok" if found else "missing", "files", what, _there(found))


def _there(found: Sequence[str]) -> str:
    return "not here" if not found else found[0] if len(found) == 1 else f"{len(found):,} files"


def _checksum(file: ExpectedFile, path: Path, progress: Progress) -> Finding:
    task = f"md5 of {path.name}"
    progress.start(task, path.stat().st_size, "bytes")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as data:
            while chunk := data.read(_CHUNK):
                digest.update(chunk)
                progress.advance(task, len(chunk))
    except OSError as error:
        return Finding("missing", "checksums", file.path, f"does not read ({type(error).__name__})", str(file.md5))
    finally:
        progress.finish(task)
    found = digest.hexdigest()
    return Finding("ok" if found == file.md5 else "differs", "checksums", f"{file.path}: MD5", found, str(file.md5))


def _columns(file: ExpectedFile, path: Path) -> Finding:
    try:
        have = read_text_table(path).columns
    except SourceError as error:
        return Finding("missing", "columns", file.path, error.problem)
    lacking = [name for name in file.columns if name not in have]
    found = f"without {', '.join(lacking)}" if lacking else "all there"
    status: Status = "missing" if lacking else "ok"
    return Finding(status, "columns", f"{file.path}: columns", found, ", ".join(file.columns))
