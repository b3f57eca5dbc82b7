"""The cells of a slide's grid: what covers each, its class, and why it is no candidate. No tile is read for this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from advassay.identity import draw
from advassay.sources.slides.discover_slides import SlideFile
from advassay.sources.slides.overview_image import Overview, overview
from advassay.sources.slides.slide import Slide
from advassay.sources.slides.slide_collection import SlideRow
from advassay.sources.slides.stain_normalisation import Stains, fit_slide
from advassay.sources.slides.tile_grid import Grid, SlideRejected, lay_grid
from advassay.sources.slides.tile_labels import Labels, TileClass
from advassay.sources.slides.tile_quality import ink_mask, share_of_boxes, tissue_mask, wrong_ground
from advassay.spec.tile_spec import TileRules

CELL = {
    **{"cell": pl.UInt32, "x": pl.Int64, "y": pl.Int64, "tissue_share": pl.Float64},
    **{"label": pl.String, "label_share": pl.Float64, "reason": pl.String},
}
"""cell: index in the grid. x, y: upper left corner in level-0 pixels. reason: null for a candidate."""


@dataclass(frozen=True)
class TileCandidates:
    """grid, the cells' table (schema CELL), the overview they were judged by, notes about the region file, and the
    slide's stains where they are to be normalised."""

    grid: Grid
    frame: pl.DataFrame
    overview: Overview
    notes: dict[str, int] = field(default_factory=dict)
    stains: Stains | None = None


def lay_candidates(
    slide: Slide, file: SlideFile, row: SlideRow, labels: Labels, rules: TileRules
) -> TileCandidates | SlideRejected:
    """Every cell of a slide, judged in this order: background, pen mark, class. Only the last needs region files."""
    grid = lay_grid(slide, rules)
    if isinstance(grid, SlideRejected):
        return grid
    seen = overview(slide)
    if seen.damaged == 1:
        return SlideRejected("damaged", "no part of the slide can be decoded")
    if (ground := wrong_ground(seen.pixels, rules.tissue)) is not None:
        return SlideRejected(ground, f"most of the slide, so its tissue rule cannot be {rules.tissue}")
    boxes = grid.boxes()
    tile_area = grid.side**2 / (seen.factor[0] * seen.factor[1])
    tissue = share_of_boxes(tissue_mask(seen.pixels, rules.tissue, tile_area), boxes, seen.factor)
    reasons = np.full(len(boxes), None, dtype=object)
    reasons[tissue < rules.min_tissue] = "background"
    if rules.tissue == "brightfield" and rules.max_pen < 1:
        ink = share_of_boxes(ink_mask(seen.pixels), boxes, seen.factor)
        reasons[(ink > rules.max_pen) & (reasons == None)] = "pen mark"  # noqa: E711 (elementwise)
    open_cells = np.flatnonzero(reasons == None)  # noqa: E711
    labelled = labels.classify(slide, file, row.label, boxes[open_cells])
    if isinstance(labelled, SlideRejected):
        return labelled
    frame = _frame(grid, tissue, reasons, open_cells, labelled.tiles)
    candidates = frame.filter(pl.col("reason").is_null())
    if rules.stain_normalisation == "none" or candidates.is_empty():
        return TileCandidates(grid, frame, seen, labelled.notes)
    stains = fit_slide(slide, grid, candidates)
    if stains is None:
        return SlideRejected("no two stains found", "stain normalisation needs a colour slide of two stains")
    return TileCandidates(grid, frame, seen, labelled.notes, stains)


def _frame(
    grid: Grid, tissue: np.ndarray, reasons: np.ndarray, open_cells: np.ndarray, classes: Iterable[TileClass]
) -> pl.DataFrame:
    label = np.full(len(reasons), None, dtype=object)
    share = np.full(len(reasons), None, dtype=object)
    for cell, tile in zip(open_cells, classes, strict=True):
        label[cell], share[cell], reasons[cell] = tile.label, tile.share, tile.reason
    columns = {"cell": np.arange(len(reasons)), "x": grid.x, "y": grid.y, "tissue_share": tissue}
    listed = {"label": label.tolist(), "label_share": share.tolist(), "reason": reasons.tolist()}
    return pl.DataFrame(columns | listed, schema=CELL)


def drawn_order(frame: pl.DataFrame, fingerprint: str, seed: int) -> list[int]:
    """Candidates of a slide in an order drawn by content: (seed, slide, x, y); other slides and tiles do not matter."""
    candidates = frame.filter(pl.col("reason").is_null()).select("cell", "x", "y")
    keyed = [(draw(seed, fingerprint, x, y), cell) for cell, x, y in candidates.iter_rows()]
    return [cell for _, cell in sorted(keyed)]
