"""Radiology reports → what they say: strict norm, eight findings, each decision with the phrase that made it.

Start reading in `report_classifier.py` (one report), then `label_table.py` (a table of them). Words only; names are
re-exported lazily.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
