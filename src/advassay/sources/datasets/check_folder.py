"""A data set's folder against its card: files, checksums, columns, arrays, images and their sizes, and a verdict."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.datasets.dataset_card import DatasetCard, ExpectedContent, ExpectedFile, Layout
from advassay.sources.datasets.set_files import files_in, matching, read_layout, read_text_table
from advassay.sources.image_decoder import Header, read_header
from advassay.sources.kinds.hdf5 import open_hdf5
from advassay.sources.kinds.npz import SPLITS, open_npz
from advassay.spec.source_spec import Hdf5Source, NpzSource, SlideSource

# ---- what a check found ----------------------------------------------------------------------------------------------

Status = Literal["ok", "missing", "differs", "note"]
Verdict = Literal["as published", "altered", "a part of it", "another layout", "not found"]


@dataclass(frozen=True)
class Finding:
    """One fact about a folder. `datasets check --json` prints these fields."""

    status: Status
    """ok; missing: the published set has it and this folder has not; differs: it is there and not as published; note:
    good to know."""
    about: Literal["files", "checksums", "columns", "images", "classes", "layout", "size", "tables"]
    what: str
    found: str
    published: str = ""
    """What the published set has; empty where that is not stated."""
    lacking: int = 0
    """Of a number that is too small, but not 0: how many fewer there are than published."""


@dataclass(frozen=True)
class Check:
    """A folder against a recipe."""

    recipe: str
    images: int
    """Images (or slides) of the set in the folder."""
    published: int | None
    """Images of the published set; null where sources differ."""
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status == "missing")

    @property
    def short(self) -> tuple[Finding, ...]:
        """Numbers that are smaller than published, but not 0."""
        return tuple(finding for finding in self.findings if finding.lacking)

    @property
    def complete(self) -> bool:
        """Whether nothing of the published set is missing or short."""
        return not (self.missing or self.short)

    @property
    def verdict(self) -> Verdict:
        """The folder in a word."""
        if not self.images:
            return "not found"
        if any(finding.status == "differs" and finding.about in ("layout", "size") for finding in self.findings):
            return "another layout"
        if not self.complete:
            return "a part of it"
        return "altered" if any(finding.status == "differs" for finding in self.findings) else "as published"

    def sentence(self) -> str:
        """The verdict for a person."""
        of = f" of {self.published:,}" if self.published else ""
        fewer = self.published is not None and self.images < self.published
        share = f"{self.images:,}{of} images"
        match self.verdict:
            case "not found":
                return f"No image of {self.recipe} was found here."
            case "another layout":
                kind = "a sample of the set" if fewer else "the set"
                return f"This is {kind} in another layout than published: {share}. What the recipe reads is listed."
            case "a part of it":
                return f"This is a part of the set, laid out as published: {share}."
            case "altered":
                return f"This is the set in size, but not as published: {share}; see what differs."
            case _:
                return f"This is the set as published, as far as can be seen: {share}."

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "recipe": self.recipe,
            "verdict": self.verdict,
            "images": self.images,
            "published": self.published,
            "missing": len(self.missing),
            "short": len(self.short),
            "findings": [asdict(finding) for finding in self.findings],
        }


def counted(about: Literal["images", "classes", "files"], what: str, found: int, published: int | None) -> Finding:
    """A number against the published one: none is missing, fewer or more differ.

    >>> counted("images", "images", 0, 4).status, counted("images", "images", 3, 4).found
    ('missing', '3 of 4')
    >>> counted("images", "images", 3, 4).status, counted("images", "images", 5, 4).status
    ('differs', 'differs')
    """
    if published is None:
        return Finding("ok" if found else "missing", about, what, f"{found:,}")
    status: Status = "ok" if found == published else "differs" if found else "missing"
    lacking = max(0, published - found) if found else 0
    said = f"{found:,} of {published:,}" if lacking else f"{found:,}"
    return Finding(status, about, what, said, f"{published:,}", lacking)


# ---- the check -------------------------------------------------------------------------------------------------------

_CHUNK = 1 << 24


def file_findings(
    expected: ExpectedContent, folder: Path, paths: Sequence[str], progress: Progress
) -> Iterator[Finding]:
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


def npz_findings(recipe: DatasetCard, folder: Path, paths: list[str]) -> tuple[int, list[Finding]]:
    """The largest number of images in one of the set's files (each size holds all), and what each file has."""
    largest = 0
    findings: list[Finding] = []
    for file in recipe.expected.files:
        for path in matching(paths, file.path):
            images, found = _npz(file, folder / path)
            largest, findings = max(largest, images), [*findings, *found]
    if not findings:
        names = ", ".join(file.path for file in recipe.expected.files)
        findings = [Finding("missing", "files", "a file of any size", "none", names)]
    return largest, findings


def _npz(file: ExpectedFile, path: Path) -> tuple[int, list[Finding]]:
    try:
        rows = open_npz(path.name, NpzSource(kind="npz", path=path.name), path).rows
    except SourceError as error:
        return 0, [Finding("missing", "images", path.name, error.problem)]
    found = dict(rows["split"].value_counts().iter_rows())
    return rows.height, [
        counted("images", f"{path.name}: {part}", found.get(SPLITS[part], 0), published)
        for part, published in file.images.items()
    ]


def hdf5_findings(recipe: DatasetCard, source: Hdf5Source, folder: Path) -> tuple[pl.DataFrame, list[Finding]]:
    """The set's rows (none where its files do not open), and why they do not."""
    try:
        return open_hdf5(recipe.name, source, folder).rows, []
    except SourceError as error:
        columns = dict.fromkeys(["label", "split"], pl.String)
        return pl.DataFrame(schema=columns), [Finding("missing", "images", "arrays", error.problem)]


_LOOKED_AT = 20
"""Images whose header is read: enough to see that a set was resized."""


def layout_findings(
    expected: ExpectedContent, rows: pl.DataFrame, strange: pl.DataFrame, folder: Path, paths: Sequence[str]
) -> Iterator[Finding]:
    """Findings about the images' folders and sizes. `strange`: images that are no part of the set."""
    if rows.height:
        yield from _folders(expected, rows["path"].to_list())
        yield from _sizes(expected, [folder / path for path in rows["path"].gather_every(_step(rows.height))])
    if strange.height:
        yield Finding("note", "layout", "other images", f"{strange.height:,}, which the recipe leaves out")
    yield from _tables(expected, folder, paths)


def _step(images: int) -> int:
    return max(1, -(-images // _LOOKED_AT))


def _folders(expected: ExpectedContent, images: Sequence[str]) -> Iterator[Finding]:
    if not expected.folders:
        return
    published = ", ".join(expected.folders)
    if all(any(f"/{folder}" in f"/{path}" for folder in expected.folders) for path in images):
        yield Finding("ok", "layout", "folders of the images", published, published)
        return
    tops = Counter(path.split("/")[0] if "/" in path else "." for path in images)
    found = ", ".join(f"{top}/ ({number:,})" for top, number in tops.most_common(3))
    yield Finding("differs", "layout", "folders of the images", found, published)


def _sizes(expected: ExpectedContent, images: Sequence[Path]) -> Iterator[Finding]:
    headers = [read_header(path.read_bytes()) for path in images if path.is_file()]
    sizes = Counter((header.width, header.height) for header in headers if isinstance(header, Header))
    if expected.size_px is None or not sizes:
        return
    found = ", ".join(f"{width} × {height}" for (width, height), _ in sizes.most_common(3))
    status: Status = "ok" if set(sizes) == {expected.size_px} else "differs"
    width, height = expected.size_px
    what = f"pixels of {sum(sizes.values())} images looked at"
    yield Finding(status, "size", what, found, f"{width} × {height}")


def _tables(expected: ExpectedContent, folder: Path, paths: Sequence[str]) -> Iterator[Finding]:
    """Tables of images that are no part of the published set: a sample often comes with one."""
    from advassay.sources.source_description import describe

    known = {path for file in expected.files if file.needed for path in matching(paths, file.path)}
    for path in paths:
        if "/" in path or path in known or not path.lower().endswith((".csv", ".tsv", ".parquet")):
            continue
        try:
            seen = describe(folder / path)
        except SourceError:
            continue
        columns = ", ".join(seen.columns)
        yield Finding("note", "tables", path, f"a table of {seen.images:,} images; `kind: table` reads it: {columns}")


SLIDE_ENDINGS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms")


def check(recipe: DatasetCard, folder: Path, progress: Progress | None = None) -> Check:
    """Compare `folder` with what `recipe` says of the published set. No image is decoded; a few headers are read.

    Raises SourceError where the folder is missing or cannot be listed; everything else is a finding.
    """
    paths = files_in(folder, "datasets check")
    findings = list(file_findings(recipe.expected, folder, paths, progress or Silent()))
    images, more = _images(recipe, folder, paths)
    return Check(recipe.name, images, recipe.expected.images, (*findings, *more))


def _images(recipe: DatasetCard, folder: Path, paths: list[str]) -> tuple[int, list[Finding]]:
    if recipe.layout is not None:
        rows, strange = read_layout(_without_missing(recipe.layout, folder, paths), folder, "datasets check")
        return rows.height, [*_counts(recipe, rows), *layout_findings(recipe.expected, rows, strange, folder, paths)]
    (source,) = recipe.sources.values()
    if isinstance(source, NpzSource):
        return npz_findings(recipe, folder, paths)
    if isinstance(source, Hdf5Source):
        rows, findings = hdf5_findings(recipe, source, folder)
        return rows.height, [*findings, *_counts(recipe, rows)]
    if not isinstance(source, SlideSource):
        raise SourceError(
            f"datasets check: expected a recipe with a layout, or of kind npz, hdf5 or slides, got kind {source.kind}.",
            "Correct the recipe.",
        )
    slides = [path for path in paths if path.lower().endswith(SLIDE_ENDINGS)]
    return len(slides), [counted("images", "slides", len(slides), recipe.expected.images)]


def _counts(recipe: DatasetCard, rows: pl.DataFrame) -> Iterator[Finding]:
    yield counted("images", "images", rows.height, recipe.expected.images)
    if rows.is_empty():
        return
    for column, values in recipe.expected.classes.items():
        if column not in rows.columns:
            yield Finding("missing", "columns", column, "no such column")
            continue
        numbers = dict(rows[column].cast(pl.String).value_counts().iter_rows())
        for value, published in values.items():
            yield counted("classes", f"{column}: {value}", numbers.get(value, 0), published)
        if None in numbers:
            yield Finding("note", "classes", f"{column}: not stated", f"{numbers[None]:,}")


def _without_missing(layout: Layout, folder: Path, paths: list[str]) -> Layout:
    """The layout with only those of its tables that can be read: the others are findings already."""
    from advassay.sources.datasets.set_files import matching, read_set_table

    usable = []
    for table in layout.tables:
        found = matching(paths, table.path)
        try:
            if found:
                read_set_table(folder, found, table)
        except SourceError:
            found = []
        usable.append(table if found else table.model_copy(update={"needed": False, "path": "/"}))
    return layout.model_copy(update={"tables": tuple(usable)})
