"""A web application on the loopback interface in which a store's attacked images are found, looked at and proved.

Names are imported when first used.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__, "view")
