"""Public data sets: what each contains, how to ask for it, and how its files become images with columns.

Start reading in `dataset_card.py` (what a recipe says), then `sets/` (the recipes). Names are re-exported lazily.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
