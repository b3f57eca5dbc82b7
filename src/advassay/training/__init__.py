"""Training: a prepared cohort becomes a classifier: one safetensors checkpoint and the document that describes it.

Names are imported when first used, so that planning a study or asking for help does not load torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
