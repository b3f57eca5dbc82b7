"""Models: a file, folder or name that somebody hands over becomes a proved classifier.

Names are imported when first used, so that asking for help does not load torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
