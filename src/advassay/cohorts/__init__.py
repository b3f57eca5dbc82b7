"""Cohorts: manifest rows → study groups: selection, duplicates, balance, split, prepared images.

>>> from advassay.cohorts import open_cohort
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
