"""Whole slides and microscope images → tiles: as files with a manifest, or as a study's source.

Start reading in `slide.py` (what an open slide is), then `tile_candidates.py` (how its tiles are judged). Names are
re-exported lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.slides.slide import Region, Slide
    from advassay.sources.slides.slide_collection import SlidePaths, slides_state
    from advassay.sources.slides.slide_opener import open_slide
    from advassay.sources.slides.slide_source import open_slides
    from advassay.sources.slides.tile_extraction import Tiles, make_tiles
    from advassay.sources.slides.tile_writer import MANIFEST, SLIDES

_HOME = {
    "MANIFEST": "tile_writer",
    "SlidePaths": "slide_collection",
    "Region": "slide",
    "SLIDES": "tile_writer",
    "Slide": "slide",
    "Tiles": "tile_extraction",
    "make_tiles": "tile_extraction",
    "open_slide": "slide_opener",
    "open_slides": "slide_source",
    "slides_state": "slide_collection",
}

__all__ = [
    "MANIFEST",
    "SLIDES",
    "Region",
    "Slide",
    "SlidePaths",
    "Tiles",
    "make_tiles",
    "open_slide",
    "open_slides",
    "slides_state",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
