"""advassay: how the success of adversarial attacks on biomedical image classifiers depends on what.

Names are imported when first used (PEP 562), so that `import advassay` is instant and reading a store never
needs torch.
"""

from advassay.optional_libraries import attach_names

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
__all__ = ["__version__", *__all__]
