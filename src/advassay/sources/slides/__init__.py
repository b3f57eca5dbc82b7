"""Whole slides and microscope images → tiles: as files with a manifest, or as a study's source.

Start reading in `slide.py` (what an open slide is), then `cells.py` (how its tiles are judged). Names are re-exported
lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.slides.listing import MANIFEST, SLIDES
    from advassay.sources.slides.making import Tiles, make_tiles
    from advassay.sources.slides.opened_folder import Places, slides_state
    from advassay.sources.slides.slide import Region, Slide, open_slide
    from advassay.sources.slides.slide_source import open_slides

_HOME = {
    "MANIFEST": "listing",
    "Places": "opened_folder",
    "Region": "slide",
    "SLIDES": "listing",
    "Slide": "slide",
    "Tiles": "making",
    "make_tiles": "making",
    "open_slide": "slide",
    "open_slides": "slide_source",
    "slides_state": "opened_folder",
}

__all__ = [
    "MANIFEST",
    "SLIDES",
    "Places",
    "Region",
    "Slide",
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
