"""What people ask for in one call. The verbs of the command line and `advassay.evaluate` are thin calls of these.

Names are imported when first used; `evaluate` itself is advassay.evaluate.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
