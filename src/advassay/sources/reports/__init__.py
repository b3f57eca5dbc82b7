"""Radiology reports → what they say: strict norm, eight findings, each decision with the phrase that made it.

Start reading in `report_classifier.py` (one report), then `label_table.py` (a table of them). Words only; names are
re-exported lazily.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
