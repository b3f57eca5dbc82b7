"""Whole slides and microscope images → tiles: as files with a manifest, or as a study's source.

Start reading in `slide.py` (what an open slide is), then `tile_candidates.py` (how its tiles are judged). Names are
re-exported lazily.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__, "slides")
