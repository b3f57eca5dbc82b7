"""Records → findings → figures, tables and one self-contained page. No torch.

Names are imported when first used.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
