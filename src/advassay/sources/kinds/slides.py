"""Whole slides and microscope images as a kind of source; the room `sources/slides/` cuts them into tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.sources.base import OpenSource
from advassay.sources.source_opener import SourceKind, SourceRequest
from advassay.spec.source_spec import SOURCE_KINDS, SlideSource

if TYPE_CHECKING:
    from advassay.sources.slides import SlidePaths


class SlideKind(SourceKind[SlideSource]):
    """A folder of slides. OpenSlide is imported when one is opened."""

    name = "slides"
    spec = SlideSource

    def open(self, source: SlideSource, request: SourceRequest) -> OpenSource:
        from advassay.sources.slides import open_slides

        opened: OpenSource = open_slides(request.name, source, _places(source, request))
        return opened

    def fingerprint(self, source: SlideSource, request: SourceRequest) -> str:
        from advassay.sources.slides import slides_state

        state: str = slides_state(_places(source, request))
        return state


def _places(source: SlideSource, request: SourceRequest) -> SlidePaths:
    """Where the files lie: the slides, and what says a slide's class. Raises SourceError like `locate`."""
    from advassay.sources.slides import SlidePaths

    paths = source.classes.model_dump(include={"table", "annotations", "masks"}, exclude_none=True)
    found = {part: request.locate(path, f"classes.{part}") for part, path in paths.items()}
    return SlidePaths(request.locate(source.path), **found)


SLIDES = SOURCE_KINDS.register(SlideKind())
