"""A folder of slides → a folder of tiles with a manifest: what `advassay tiles` does, and what is done already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import polars as pl

from advassay.errors import SpecError
from advassay.identity import content_hash, pseudonym
from advassay.progress import Progress, Silent
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.overview_image import draw_thumbnail
from advassay.sources.slides.slide import Slide
from advassay.sources.slides.slide_collection import SlideEntry, SlideFolder, SlidePaths, state_mpp
from advassay.sources.slides.slide_readers import open_slide
from advassay.sources.slides.tile_candidates import TileCandidates, lay_candidates
from advassay.sources.slides.tile_grid import SlideRejected
from advassay.sources.slides.tile_labels import Labels
from advassay.sources.slides.tile_writer import MANIFEST, REASONS, SLIDES, carried_table, cut_slide, write_tables
from advassay.spec.tile_spec import SlideClasses, TileRules
from advassay.store_layout import writing


@dataclass(frozen=True)
class Tiles:
    """manifest: schema MANIFEST and carried columns. slides: schema SLIDES. others: ending → files that are no slides.
    not_carried: columns of the slides' table that stay behind, and why."""

    manifest: pl.DataFrame
    slides: pl.DataFrame
    others: dict[str, int]
    not_carried: dict[str, str]


def make_tiles(
    places: SlidePaths,
    output: Path,
    rules: TileRules | None = None,
    classes: SlideClasses | None = None,
    *,
    key: bytes,
    patient: str = "patient_id",
    progress: Progress | None = None,
) -> Tiles:
    """Cut every slide below `places.slides` and write into `output`: images/CLASS/*.png, thumbnails/*.png, slides.csv,
    manifest.csv and manifest.parquet; and beside it OUTPUT.sources.csv, readable by its owner only: which file is which
    slide.

    `key`: of the pseudonyms of slides and patients; `patient`: patient column of the table. The same call goes on where
    an earlier one stopped and gives the same files; memory does not grow with a slide's size. A slide that cannot be
    used is a row of slides.csv with the reason. Raises SourceError for missing folders, tables or columns, SpecError
    where `output` was made with other settings.
    """
    rules, classes, progress = rules or TileRules(), classes or SlideClasses(), progress or Silent()
    opened = SlideFolder(places, classes, patient, "slides")
    check_settings(output, rules, classes, key)
    carried, not_carried = carried_table(opened.table, opened.files)
    task = f"cut {len(opened.files)} slides"
    progress.start(task, len(opened.files), "slides")
    rows, parts, sources = [], [], []
    for known in opened.known():
        maker = _TileExtractor(known, opened, rules, classes, output, key)
        row, tiles = maker.make(lambda share: progress.advance(task, share))
        rows.append(row)
        parts.append(
            tiles.with_columns(
                pl.lit(known.row.carried.get(name), dtype).alias(name) for name, dtype in carried.items()
            )
        )
        sources.append((row["slide_id"], str(known.file.path.resolve()), known.row.patient))
    progress.finish(task)
    slides = pl.DataFrame(rows, schema=SLIDES)
    manifest = pl.concat(parts)
    write_tables(output, manifest, slides, sources)
    return Tiles(manifest, slides, opened.others, not_carried)


class _TileExtractor:
    """Makes the tiles of one slide, or finds them made."""

    def __init__(
        self, known: SlideEntry, opened: SlideFolder, rules: TileRules, classes: SlideClasses, output: Path, key: bytes
    ) -> None:
        self.known, self.opened, self.rules, self.classes, self.output = known, opened, rules, classes, output
        own = f"file {known.file.name}" if known.fingerprint is None else f"slide {known.fingerprint}"
        if known.problem is not None:
            own = f"file {known.file.name}"
        self.slide_id = "s" + pseudonym(key, own)[1:]
        self.patient_id = pseudonym(key, known.row.patient or own)

    def make(self, tick: Callable[[float], None]) -> tuple[dict[str, Any], pl.DataFrame]:
        """The slide's row and its tiles (schema MANIFEST)."""
        if self.known.problem is not None or self.known.fingerprint is None:
            tick(1)
            return self._left_out(self.known.problem or SlideRejected("missing", "")), pl.DataFrame(schema=MANIFEST)
        finished = SlideCheckpoint(self.output, self.slide_id, request_of(self.known, self.opened.labels))
        if (found := finished.read()) is not None:
            tick(1)
            return found[0], found[1].cast(MANIFEST)  # type: ignore[arg-type]
        finished.begin()
        slide = open_slide(self.known.file.path, self.known.file.folder, self.rules.channel)
        if isinstance(slide, Unreadable):
            tick(1)
            return self._left_out(SlideRejected(slide.reason, slide.detail)), pl.DataFrame(schema=MANIFEST)
        with slide:
            row, tiles = self._cut(slide, tick)
        finished.write(row, tiles)
        return row, tiles

    def _cut(self, slide: Slide, tick: Callable[[float], None]) -> tuple[dict[str, Any], pl.DataFrame]:
        conflict = state_mpp(slide, self.known.row)
        cells = lay_candidates(slide, self.known.file, self.known.row, self.opened.labels, self.rules)
        if isinstance(cells, SlideRejected):
            tick(1)
            return self._left_out(cells) | self._facts(slide), pl.DataFrame(schema=MANIFEST)
        told = _Told(tick)
        judged = cut_slide(
            slide,
            cells,
            self.rules,
            slide_id=self.slide_id,
            fingerprint=self.known.fingerprint or "",
            images=self.output / "images",
            tick=told,
        )
        told.rest()
        self._thumbnail(cells, judged)
        return self._own() | {"status": "read"} | self._facts(slide) | _counts(cells, judged, conflict), self._tiles(
            cells, judged
        )

    def _own(self) -> dict[str, Any]:
        row = self.known.row
        own = {"slide_id": self.slide_id, "patient_id": self.patient_id, "patient_from": row.patient_from}
        return dict.fromkeys(SLIDES) | own | {"label": row.label}

    def _left_out(self, why: SlideRejected) -> dict[str, Any]:
        return self._own() | {"status": "left out", "reason": why.reason, "detail": why.detail}

    def _facts(self, slide: Slide) -> dict[str, Any]:
        native = slide.mpp or self.rules.assume_mpp
        source = slide.mpp_from if slide.mpp else "assumed" if native else None
        width, height = slide.sizes[0]
        size = {"format": slide.format, "width": width, "height": height, "levels": len(slide.sizes)}
        return size | {"mpp": native, "mpp_from": source}

    def _tiles(self, cells: TileCandidates, judged: pl.DataFrame) -> pl.DataFrame:
        kept = judged.filter(pl.col("image").is_not_null()).with_columns(
            pl.concat_str(pl.lit("images/"), "image").alias("image"),
            slide_id=pl.lit(self.slide_id),
            patient_id=pl.lit(self.patient_id),
            patient_from=pl.lit(self.known.row.patient_from),
            level=pl.lit(cells.grid.level),
            mpp=pl.lit(cells.grid.mpp, pl.Float64),
        )
        return kept.select(*MANIFEST).cast(MANIFEST)  # type: ignore[arg-type]

    def _thumbnail(self, cells: TileCandidates, judged: pl.DataFrame) -> None:
        seen = cells.overview
        drawn = draw_thumbnail(seen.pixels, seen.factor, judged, cells.grid.side, title=self.slide_id)
        with writing(self.output / "thumbnails" / f"{self.slide_id}.png") as beside:
            cv2.imwrite(str(beside), drawn[:, :, ::-1])


class _Told:
    """Passes on shares of a slide's work, and at the end what is missing to the whole."""

    def __init__(self, tick: Callable[[float], None]) -> None:
        self._tick, self._told = tick, 0.0

    def __call__(self, share: float) -> None:
        self._told += share
        self._tick(share)

    def rest(self) -> None:
        self._tick(max(0.0, 1 - self._told))


def _counts(cells: TileCandidates, judged: pl.DataFrame, conflict: str | None) -> dict[str, Any]:
    reasons = dict(judged["reason"].drop_nulls().value_counts().iter_rows())
    notes = "; ".join([f"{note}: {count}" for note, count in sorted(cells.notes.items())] + [conflict or ""]).strip(
        "; "
    )
    kept = judged.height - sum(reasons.values())
    counted = {reason.replace(" ", "_"): reasons.get(reason, 0) for reason in REASONS}
    grid = {"level": cells.grid.level, "tile_mpp": cells.grid.mpp, "damaged_share": cells.overview.damaged}
    return grid | {"notes": notes or None, "cells": judged.height, "tiles": kept} | counted


# ---- what is done already: settings of a tiles folder, and each finished slide ---------------------------------------

RECIPE = 1
"""Raised when the same settings would give other tiles."""
FLUORESCENCE_RECIPE = 2
"""The same for slides whose tissue is fluorescent."""
SETTINGS = "settings.json"
_PLACES = {"table", "annotations", "masks"}


def check_settings(output: Path, rules: TileRules, classes: SlideClasses, key: bytes) -> None:
    """Write the settings into `output`, or compare: a folder holds the tiles of one set of rules under one key.

    Raises SpecError where they differ, or where `output` holds other things.
    """
    asked: dict[str, Any] = {
        "recipe": FLUORESCENCE_RECIPE if rules.tissue == "fluorescence" else RECIPE,
        "tiles": rules.model_dump(mode="json"),
        "classes": classes.model_dump(mode="json", exclude=_PLACES),
        "key": pseudonym(key, "settings")[:5],
    }
    path = output / SETTINGS
    if not path.exists():
        if output.exists() and any(output.iterdir()):
            raise SpecError(
                f"--output: expected a new or empty folder, or one of tiles, got {output}.", "Give another folder."
            )
        with writing(path) as beside:
            beside.write_text(json.dumps(asked, indent=2))
        return
    found = _read_json(path)
    if found != asked:
        differing = ", ".join(_differing(found, asked)) or "its settings.json"
        raise SpecError(
            f"--output: a folder made with the same settings is needed; {output} differs in {differing}.",
            "Give another folder, or remove this one.",
        )


def _differing(found: Any, asked: dict[str, Any]) -> list[str]:
    names = []
    for part, wanted in asked.items():
        there = found.get(part) if isinstance(found, dict) else None
        if isinstance(wanted, dict) and isinstance(there, dict):
            names += [name for name in there | wanted if wanted.get(name) != there.get(name)]
        elif wanted != there:
            names.append("--key-file" if part == "key" else part)
    return names


def request_of(known: SlideEntry, labels: Labels) -> str:
    """Hash of what decides the tiles of one slide, beside the settings: its content, its row, its region file."""
    regions = labels.file_of(known.file)
    state = None
    if regions is not None and regions.is_file():
        facts = regions.stat()
        small = facts.st_size <= 1 << 26
        state = hashlib.sha256(regions.read_bytes()).hexdigest() if small else [facts.st_size, facts.st_mtime_ns]
    row = known.row
    asked = [known.fingerprint, row.label, row.patient, row.patient_from, state]
    return content_hash(asked if row.mpp is None else [*asked, row.mpp])


class SlideCheckpoint:
    """One slide's finished row and tiles in OUTPUT/.slides."""

    def __init__(self, output: Path, slide_id: str, request: str) -> None:
        self._output, self._slide_id, self._request = output, slide_id, request
        self._document = output / ".slides" / f"{slide_id}.json"
        self._tiles = output / ".slides" / f"{slide_id}.parquet"

    def read(self) -> tuple[dict[str, Any], pl.DataFrame] | None:
        """The slide's row and tiles, or None where it is not finished or was asked for otherwise."""
        found = _read_json(self._document) if self._document.exists() else None
        if not isinstance(found, dict) or found.get("request") != self._request or "row" not in found:
            return None
        tiles = pl.read_parquet(self._tiles)
        whole = all((self._output / image).exists() for image in tiles["image"])
        return (found["row"], tiles) if whole else None

    def begin(self) -> None:
        """Note what is asked for. Tiles of this slide from another request are removed: their class may differ."""
        found = _read_json(self._document) if self._document.exists() else None
        if isinstance(found, dict) and found.get("request") != self._request:
            for path in self._output.glob(f"images/*/{self._slide_id}-x*-y*.png"):
                path.unlink()
        self._write({"request": self._request})

    def write(self, row: dict[str, Any], tiles: pl.DataFrame) -> None:
        """Keep what was made; from now on `read` finds it."""
        with writing(self._tiles) as beside:
            tiles.write_parquet(beside)
        self._write({"request": self._request, "row": row})

    def _write(self, document: dict[str, Any]) -> None:
        with writing(self._document) as beside:
            beside.write_text(json.dumps(document))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
