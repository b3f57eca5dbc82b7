"""Tiles of slides as a study's source: candidates from the slides' grids, pixels read from the slides on demand.

Cells without tissue, with marker ink or without a class are no candidates; a tile that turns out damaged, unscanned or
blurred when it is read is left out then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import polars as pl

from advassay.errors import SourceError
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result, prefetch
from advassay.sources.image_decoder import one_channel_if_grey
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.discover_slides import SlideFile
from advassay.sources.slides.slide import Slide
from advassay.sources.slides.slide_collection import SlideEntry, SlideFolder, SlidePaths, state_mpp
from advassay.sources.slides.slide_readers import open_slide
from advassay.sources.slides.stain_normalisation import Stains, as_asked
from advassay.sources.slides.tile_candidates import drawn_order, lay_candidates
from advassay.sources.slides.tile_grid import Grid, SlideRejected, read_tile
from advassay.sources.slides.tile_quality import rejected
from advassay.spec.source_spec import SlideSource

_OWN = {
    **{"path": pl.String, "original_patient": pl.String, "slide_id": pl.String, "label": pl.String},
    **{"label_share": pl.Float64, "x": pl.Int64, "y": pl.Int64, "level": pl.UInt8, "mpp": pl.Float64},
    **{"tissue_share": pl.Float64},
}
_THREADS = 2


class SlideTiles(OpenSource):
    """Tiles of slides; one slide is open at a time."""

    def __init__(
        self, name: str, source: SlideSource, places: SlidePaths, rows: pl.DataFrame, lost: pl.DataFrame, laid: _Laid
    ) -> None:
        named = source.patient_id if source.classes.table else None
        super().__init__(name, rows, lost, named, places.slides)
        self._rules, self._laid = source.tiles, laid

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        for row in rows:
            if not 0 <= row < self.rows.height:
                raise KeyError(row)
        for place, group in groupby(rows, key=lambda row: self._laid.slide_of[row]):
            file, grid, stains = self._laid.slides[place]
            wanted = list(group)
            slide = open_slide(file.path, file.folder, self._rules.channel)
            if isinstance(slide, Unreadable):
                yield from ((row, work(slide)) for row in wanted)
                continue
            with slide:
                yield from self._of_slide(slide, grid, stains, wanted, work)

    def _of_slide(
        self, slide: Slide, grid: Grid, stains: Stains | None, rows: list[int], work: Callable[[Pixels], Result]
    ) -> Iterator[tuple[int, Result]]:
        def one(row: int) -> Result:
            region = read_tile(slide, grid, self._laid.cell_of[row])
            bad = rejected(region, self._rules, slide.white)
            if region is None or bad is not None:
                return work(bad or Unreadable("damaged"))
            return work(one_channel_if_grey(as_asked(region.pixels, stains)))

        yield from zip(rows, prefetch(one, rows, threads=_THREADS, most=2 * _THREADS), strict=True)


class _Laid:
    """Of each candidate row: which slide, and which cell of its grid."""

    def __init__(self) -> None:
        self.slides: list[tuple[SlideFile, Grid, Stains | None]] = []
        self.slide_of: list[int] = []
        self.cell_of: list[int] = []

    def add(self, file: SlideFile, grid: Grid, stains: Stains | None, cells: list[int]) -> None:
        self.slide_of += [len(self.slides)] * len(cells)
        self.cell_of += cells
        self.slides.append((file, grid, stains))


def open_slides(name: str, source: SlideSource, places: SlidePaths) -> SlideTiles:
    """Look at every slide once (an overview of each is read) and list its candidate tiles.

    A slide that gives none is left out with the reason. tiles_per_slide draws among the candidates, before any is
    read. Raises SourceError if no slide has a candidate.
    """
    opened = SlideFolder(places, source.classes, source.patient_id, f"sources.{name}.path")
    laid, frames, lost = _Laid(), [], []
    for known in opened.known():
        found = _of(known, opened, source)
        if isinstance(found, SlideRejected):
            lost.append((None, f"slide: {found.reason}", found.detail))
            continue
        grid, stains, frame = found
        laid.add(known.file, grid, stains, frame["cell"].to_list())
        frames.append(_columns(frame, known, grid, opened))
    if not frames:
        reasons = ", ".join(sorted({reason for _, reason, _ in lost}))
        raise SourceError(
            f"sources.{name}: expected at least one slide with tiles, got none of {len(opened.files)} ({reasons}).",
            "Look at the slides with `advassay tiles`, whose slides.csv and thumbnails say more.",
        )
    rows = pl.concat(frames).select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        *("path", "original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
        pl.exclude("path", "original_patient"),
    )
    return SlideTiles(name, source, places, rows, pl.DataFrame(lost, schema=LEFT_OUT, orient="row"), laid)


def _of(
    known: SlideEntry, opened: SlideFolder, source: SlideSource
) -> tuple[Grid, Stains | None, pl.DataFrame] | SlideRejected:
    if known.problem is not None:
        return known.problem
    slide = open_slide(known.file.path, known.file.folder, source.tiles.channel)
    if isinstance(slide, Unreadable):
        return SlideRejected(slide.reason, slide.detail)
    with slide:
        state_mpp(slide, known.row)
        cells = lay_candidates(slide, known.file, known.row, opened.labels, source.tiles)
    if isinstance(cells, SlideRejected):
        return cells
    frame = cells.frame.filter(pl.col("reason").is_null())
    if source.tiles.tiles_per_slide is not None:
        frame = _drawn(frame, known.fingerprint or "", source.tiles.tiles_per_slide, source.tiles.seed)
    return (
        (cells.grid, cells.stains, frame)
        if frame.height
        else SlideRejected("no candidate tile", f"of {cells.frame.height} cells")
    )


def _drawn(frame: pl.DataFrame, fingerprint: str, most: int, seed: int) -> pl.DataFrame:
    kept = [
        cell
        for (_,), part in frame.group_by(["label"], maintain_order=True)
        for cell in drawn_order(part, fingerprint, seed)[:most]
    ]
    return frame.filter(pl.col("cell").is_in(kept))


def _columns(frame: pl.DataFrame, known: SlideEntry, grid: Grid, opened: SlideFolder) -> pl.DataFrame:
    # The slide is its own patient where nothing says another: no interval may treat its tiles as independent.
    patient = known.row.patient or f"slide {known.fingerprint}"
    own = frame.with_columns(
        path=pl.concat_str(pl.lit(f"{known.file.name} x="), "x", pl.lit(" y="), "y"),
        original_patient=pl.lit(patient),
        slide_id=pl.lit(known.fingerprint, pl.String),
        level=pl.lit(grid.level, pl.UInt8),
        mpp=pl.lit(grid.mpp, pl.Float64),
    ).select(pl.col(name).cast(dtype) for name, dtype in _OWN.items())
    return own.with_columns(
        pl.lit(known.row.carried.get(name), dtype).alias(name) for name, dtype in opened.table.columns.items()
    )
