"""What is done already: settings of a tiles folder, and each finished slide, recognised by what was asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl

from advassay.errors import SpecError
from advassay.identity import content_hash, pseudonym
from advassay.sources.slides.slide_collection import SlideEntry
from advassay.sources.slides.tile_labels import Labels
from advassay.spec.tile_spec import SlideClasses, TileRules
from advassay.store_layout import writing

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
