"""Models: a file, folder or name that somebody hands over becomes a proved classifier.

Names are imported when first used, so that asking for help does not load torch.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
