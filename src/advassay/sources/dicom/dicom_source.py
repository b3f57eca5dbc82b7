"""A DICOM source: found, read by its headers, screened; then images on demand."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from advassay.errors import SourceError
from advassay.identity import content_hash
from advassay.progress import Progress, Silent
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result
from advassay.sources.dicom.discover_files import FileEntry, find_files
from advassay.sources.dicom.header_filters import filter_by_header
from advassay.sources.dicom.header_reader import HEADER, HEADER_VERSION, IDS
from advassay.sources.dicom.patient_identity import counted, patient_remarks, with_patients, with_sexes
from advassay.sources.dicom.pixel_reader import NOTES, PixelRules
from advassay.sources.dicom.tag_normalisation import BODY_PARTS, VIEWS
from advassay.sources.dicom.tag_vocabulary import IMAGE_KINDS
from advassay.sources.dicom.worker_pool import DicomWorkerPool, Made
from advassay.sources.pseudonyms import closed_to_others
from advassay.sources.read_failures import Unreadable
from advassay.sources.table_files import require_column
from advassay.spec.source_spec import DicomSource
from advassay.store_layout import writing

COLUMNS = (
    *("age", "sex", "view", "body_part", "modality", "laterality", "year", "photometric", "bits_stored"),
    *("pixel_spacing_mm", "voi", "transfer_syntax"),
    *("presentation_intent", "image_kind", "derivation", "orientation", "fov_flipped", "fov_rotation"),
)
"""What rules may use, besides ids. Every text in them comes from a closed list (tag_normalisation.py) or from the
standard."""


class DicomFiles(OpenSource):
    """Radiographs of an archive; each is decoded in a worker process when it is read."""

    draw_column = "sop_instance_uid"  # PS3.3 §C.12.1: one image, one UID

    def __init__(
        self,
        name: str,
        rows: pl.DataFrame,
        left_out: pl.DataFrame,
        patient_column: str,
        folder: Path,
        crew: DicomWorkerPool,
        rules: PixelRules,
        headers: pl.DataFrame,
    ) -> None:
        super().__init__(name, rows, left_out, patient_column, folder)
        self._crew, self._rules, self._headers = crew, rules, headers
        self._paths: dict[int, str] = dict(zip(rows["row"], rows["path"], strict=True))
        self._notes: dict[int, tuple[str, ...]] = {}

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        def made(row: int) -> Result:
            image = self._crew.decoded(self._path(row), self._rules)
            if isinstance(image, Unreadable):
                return work(image)
            self._notes[row] = image.notes
            return work(image.pixels)

        yield from zip(rows, self._crew.ahead(made, rows), strict=True)

    def map_in_reader(
        self, rows: Sequence[int], work: Callable[..., Made], items: Sequence[Any] | None = None
    ) -> Iterator[tuple[int, Made]]:
        def made(pair: tuple[int, Any]) -> Made:
            row, item = pair
            result, self._notes[row] = self._crew.made(self._path(row), self._rules, partial(work, item=item))
            return result

        pairs = zip(rows, [None] * len(rows) if items is None else items, strict=True)
        yield from zip(rows, self._crew.ahead(made, pairs), strict=True)

    def _path(self, row: int) -> str:
        return f"{self.root}/{self._paths[row]}"

    def remarks(self, rows: Sequence[int]) -> list[str]:
        wanted = pl.col("row").is_in(pl.Series(rows, dtype=pl.UInt32).implode())
        chosen = self._headers.filter(wanted)
        return [
            *_without_voi(chosen, self._rules.scaling),
            *_unstated(chosen),
            *_repeated(chosen),
            *_of_kinds(chosen, self._rules.turn),
            *(patient_remarks(chosen) if self.patient_column == "patient_id" else []),
            *_noted([self._notes.get(row, ()) for row in chosen["row"]]),
        ]


def open_dicom(
    name: str,
    source: DicomSource,
    path: Path,
    *,
    scaling: str = "full-range",
    kept_headers: Path | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> DicomFiles:
    """Every file is looked at by its header; those that `source` accepts are candidates, the others are left out.

    scaling: of the cohort; `voi` images come rendered through their VOI LUT or window. kept_headers: private folder in
    which header facts are kept between calls. Raises SourceError for a source as a whole that cannot be used.
    """
    _check_words(name, source)
    folder, found = find_files(f"sources.{name}.path", path)
    crew = DicomWorkerPool(workers, source.most_pixels)
    headers = with_sexes(with_patients(header_table(name, folder, found, crew, kept_headers, progress or Silent())))
    reasons = filter_by_header(headers, source)
    stays = reasons["reason"].is_null()
    rows = _candidates(name, headers.filter(stays), source)
    lost = headers.select("row").with_columns(reasons).filter(~stays).cast(LEFT_OUT)  # type: ignore[arg-type]
    turn = source.orientation == "turn"
    rules = PixelRules(scaling, source.most_pixels, source.least_contrast, source.most_clipped, turn)
    opened = DicomFiles(name, rows, lost, source.patient_id, folder, crew, rules, headers.filter(stays))
    opened.files = headers.select("row", path=pl.col("path").replace("", None), original_patient="patient_id")
    opened.identifying = counted(headers["identifying"])
    return opened


def _check_words(name: str, source: DicomSource) -> None:
    for field, given, known in (
        ("body_parts", source.body_parts, BODY_PARTS),
        ("views", source.views, VIEWS),
        ("image_kinds", source.image_kinds, IMAGE_KINDS),
    ):
        if unknown := sorted(set(given) - set(known)):
            raise SourceError(f"sources.{name}.{field}: of {', '.join(known)}; got {', '.join(unknown)}.")


def _candidates(name: str, headers: pl.DataFrame, source: DicomSource) -> pl.DataFrame:
    if headers.is_empty():
        headers = headers.clear()
    ids = [column for column in IDS if column != "accession_number" or column in _needed(source)]
    require_column([*COLUMNS, *ids], source.patient_id, f"sources.{name}.patient_id")
    return headers.select(
        "row",
        "path",
        pl.col(source.patient_id).cast(pl.String).alias("original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
        *COLUMNS,
        *ids,
    )


def _needed(source: DicomSource) -> set[str | None]:
    """An accession number's column bears no id's name, so it is there only where something uses it up."""
    return {source.patient_id, source.reports.key if source.reports else None}


def _without_voi(rows: pl.DataFrame, scaling: str) -> list[str]:
    without = int((rows["voi"] == "none").sum())
    if scaling != "voi" or not without:
        return []
    return [f"scaling: voi: {without} of {rows.height} images have neither VOI LUT nor window: taken at full-range."]


def _of_kinds(rows: pl.DataFrame, turn: bool) -> list[str]:
    """What the headers say of images that are in, and a reader would not expect."""
    total, orientation = rows.height, pl.col("orientation")
    astray = rows.filter(orientation.is_not_null() & ~orientation.is_in(["standard", "other"])).height
    stays = "turned by it" if turn else "kept as they are; orientation: turn, or a rule about orientation, changes that"
    told = [
        (rows["view_from_text"].sum(), "state no view, but a description does: it was believed"),
        (
            rows["view_doubted"].sum(),
            "state a frontal View Position beside a code or description of another view: View Position was believed",
        ),
        (rows["part_from_text"].sum(), "state no body part, but a description does: it was believed"),
        (rows["respelled"].sum(), "write a Modality that is no DICOM term (DR, XR, RX): read as DX"),
        ((rows["derivation"] == "derived").sum(), "are DERIVED by Image Type; a rule about derivation leaves them out"),
        (
            (rows["image_kind"] == "secondary capture").sum(),
            "are secondary captures; a rule about image_kind leaves them out",
        ),
        (
            (rows["presentation_intent"] == "processing").sum(),
            "are FOR PROCESSING: most makers store them as negatives",
        ),
        (astray, f"are mirrored, upside down or lying by their Patient Orientation: {stays}"),
        (rows["fov_flipped"].sum(), "were flipped by their detector (Field of View Horizontal Flip)"),
        (
            rows["sex_doubted"].sum(),
            "state the sex M where others state H: M may mean mujer or male: unknown",
        ),
        (rows["sex_unread"].sum(), "state a sex in a word that is not known: unknown"),
    ]
    return [f"{count} of {total} images {sentence}." for count, sentence in told if count]


def _noted(notes: Sequence[tuple[str, ...]]) -> list[str]:
    counts = Counter(note for of_image in notes for note in of_image)
    return [f"{count} of {len(notes)} images {NOTES[note]}." for note, count in sorted(counts.items())]


def _unstated(rows: pl.DataFrame) -> list[str]:
    return [
        f"{count} of {rows.height} images state no {column.replace('_', ' ')}; a rule about {column}, or unstated: "
        "leave-out, leaves them out."
        for column in ("body_part", "view")
        if (count := rows[column].null_count())
    ]


def _repeated(rows: pl.DataFrame) -> list[str]:
    repeated = int(rows["sop_instance_uid"].drop_nulls().is_duplicated().sum())
    if not repeated:
        return []
    return [f"{repeated} images share a SOP Instance UID with another one; only equal pixels make them duplicates."]


# ---- the headers of a whole archive as one table: read in parallel, in order, and kept -------------------------------

HEADERS_AT_A_TIME = 8192
"""Files whose headers are kept at a time: what a killed run loses at most."""
_FILE = {"path": pl.String, "bytes": pl.Int64, "changed_ns": pl.Int64}


def header_table(
    name: str, folder: Path, found: list[FileEntry], crew: DicomWorkerPool, kept: Path | None, progress: Progress
) -> pl.DataFrame:
    """One row per entry of `found`, in its order: row (UInt32), path, and the columns of HEADER.

    `kept`: a private folder that remembers headers by path, size and time of change; None = nothing is kept.
    """
    entries = pl.DataFrame(found, schema={"path": pl.String, "reason": pl.String, "detail": pl.String}, orient="row")
    entries = entries.with_row_index("row")
    memory = _KeptHeaders(kept, folder) if kept is not None else None
    to_open = entries.filter(pl.col("reason").is_null())["path"].to_list()
    facts = _read_headers(name, folder, to_open, crew, memory, progress).drop("bytes", "changed_ns")
    closed = entries.filter(pl.col("reason").is_not_null())
    opened = entries.filter(pl.col("reason").is_null()).select("row", "path").with_columns(facts.drop("path"))
    return pl.concat([opened, closed], how="diagonal").sort("row")


def _read_headers(
    name: str, folder: Path, paths: list[str], crew: DicomWorkerPool, memory: _KeptHeaders | None, progress: Progress
) -> pl.DataFrame:
    """Facts of `paths` in that order: what is remembered, and what is read now, chunk by chunk."""
    task, chunks = f"read headers of {name}", []
    files = _files_now(folder, paths)
    remembered = memory.recall(files) if memory else pl.DataFrame(schema=_FILE | HEADER)
    fresh = files.join(remembered.select(*_FILE), on=list(_FILE), how="anti", maintain_order="left").unique(
        "path", maintain_order=True
    )
    progress.start(task, fresh.height, "files")
    for chunk in fresh.iter_slices(HEADERS_AT_A_TIME):
        whole = [os.path.join(folder, path) for path in chunk["path"]]
        facts = []
        for header in crew.headers(whole):
            facts.append(header)
            progress.advance(task)
        chunks.append(pl.concat([chunk, pl.DataFrame(facts, schema=HEADER, strict=False)], how="horizontal"))
        if memory:
            memory.keep(chunks[-1])
    progress.finish(task)
    known = pl.concat([remembered, *chunks])
    return files.join(known, on=list(_FILE), how="left", maintain_order="left", nulls_equal=True)


def _files_now(folder: Path, paths: list[str]) -> pl.DataFrame:
    """path, bytes, changed_ns of each file; -1 where it cannot be asked (the reader says why)."""
    facts = []
    for path in paths:
        try:
            stat = os.stat(os.path.join(folder, path))
            facts.append((path, stat.st_size, stat.st_mtime_ns))
        except (OSError, ValueError):
            facts.append((path, -1, -1))
    return pl.DataFrame(facts, schema=_FILE, orient="row")


class _KeptHeaders:
    """Headers read before, in Parquet parts that only their owner may read. They hold original ids."""

    def __init__(self, place: Path, folder: Path) -> None:
        self._place = place
        self._name = content_hash([HEADER_VERSION, os.path.realpath(folder)])

    def recall(self, files: pl.DataFrame) -> pl.DataFrame:
        """Kept rows for those of `files` that have not changed."""
        parts = [pl.read_parquet(part) for part in sorted(self._place.glob(f"{self._name}-*.parquet"))]
        kept = pl.concat(parts) if parts else pl.DataFrame(schema=_FILE | HEADER)
        return kept.unique("path", keep="last", maintain_order=True).join(files, on=list(_FILE), how="semi")

    def keep(self, rows: pl.DataFrame) -> None:
        """Add rows; files that could not be opened are asked again the next time."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = len(list(self._place.glob(f"{self._name}-*.parquet")))
        with (
            writing(self._place / f"{self._name}-{number:05d}.parquet") as beside,
            open(beside, "xb", opener=closed_to_others) as file,
        ):
            rows.filter(
                pl.col("bytes") >= 0, pl.col("reason").is_null() | (pl.col("reason") != "no permission")
            ).write_parquet(file)
