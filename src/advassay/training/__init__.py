"""Training: a prepared cohort becomes a classifier: one safetensors checkpoint and the document that describes it.

Names are imported when first used, so that planning a study or asking for help does not load torch.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
