"""Files from archives and hospitals → one manifest row per image. A bad file is a row with a reason.

Start reading in `base.py` (what an open source is), then `image_index.py` (what becomes of it). Phantoms are a source
like any other. Names are re-exported lazily, so that importing the package costs nothing.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
