"""Cohorts: manifest rows → study groups: selection, duplicates, balance, split, prepared images.

>>> from advassay.cohorts import open_cohort
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
