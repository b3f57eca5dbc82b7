"""Radiology reports → what they say: strict norm, eight findings, each decision with the phrase that made it.

Start reading in `report_classifier.py` (one report), then `label_table.py` (a table of them). Words only; names are
re-exported lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.reports.label_table import Labelled, label_reports
    from advassay.sources.reports.report_classifier import LABELS, Evidence, ReportLabels, ReportReader
    from advassay.sources.reports.vocabulary import FINDINGS, Vocabulary, languages, load_vocabulary

_HOME = {
    "Evidence": "report_classifier",
    "FINDINGS": "vocabulary",
    "LABELS": "report_classifier",
    "Labelled": "label_table",
    "ReportLabels": "report_classifier",
    "ReportReader": "report_classifier",
    "Vocabulary": "vocabulary",
    "label_reports": "label_table",
    "languages": "vocabulary",
    "load_vocabulary": "vocabulary",
}

__all__ = [
    "FINDINGS",
    "LABELS",
    "Evidence",
    "Labelled",
    "ReportLabels",
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
