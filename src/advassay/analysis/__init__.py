"""Records → numbers with intervals and tested conclusions. No torch; everything recomputes from a store on a laptop.

Names are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
