"""Public data sets: what each contains, how to ask for it, and how its files become images with columns.

Start reading in `dataset_card.py` (what a recipe says), then `sets/` (the recipes). Names are re-exported lazily.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
