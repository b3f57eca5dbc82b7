"""Whole slides and microscope images → tiles: as files with a manifest, or as a study's source.

Start reading in `slide.py` (what an open slide is), then `tile_candidates.py` (how its tiles are judged). Names are
re-exported lazily.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
