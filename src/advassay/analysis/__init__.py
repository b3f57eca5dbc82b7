"""Records → numbers with intervals and tested conclusions. No torch; everything recomputes from a store on a laptop.

Names are imported when first used.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
