"""Radiology reports → what they say: strict norm, eight findings, each decision with the phrase that made it.

Start reading in `reading.py` (one report), then `table.py` (a table of them). Words only; names are re-exported
lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.reports.reading import LABELS, Evidence, Reading, ReportReader
    from advassay.sources.reports.table import Labelled, label_reports
    from advassay.sources.reports.vocabulary import FINDINGS, Vocabulary, languages, load_vocabulary

_HOME = {
    "Evidence": "reading",
    "FINDINGS": "vocabulary",
    "LABELS": "reading",
    "Labelled": "table",
    "Reading": "reading",
    "ReportReader": "reading",
    "Vocabulary": "vocabulary",
    "label_reports": "table",
    "languages": "vocabulary",
    "load_vocabulary": "vocabulary",
}

__all__ = [
    "FINDINGS",
    "LABELS",
    "Evidence",
    "Labelled",
    "Reading",
    "ReportReader",
    "Vocabulary",
    "label_reports",
    "languages",
    "load_vocabulary",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
