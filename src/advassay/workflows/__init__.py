"""What people ask for in one call. The verbs of the command line and `advassay.evaluate` are thin calls of these.

Names are imported when first used; `evaluate` itself is advassay.evaluate.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
