"""Public data sets: what each contains, how to ask for it, and how its files become images with columns.

Start reading in `dataset_card.py` (what a recipe says), then `sets/` (the recipes). Names are re-exported lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.datasets.card_export import datasets_page, study_blocks
    from advassay.sources.datasets.check_folder import check
    from advassay.sources.datasets.check_report import Check, Finding
    from advassay.sources.datasets.dataset_card import DatasetCard, card_names, load_card

_HOME = {
    "Check": "check_folder",
    "Finding": "check_folder",
    "DatasetCard": "dataset_card",
    "check": "check_folder",
    "datasets_page": "card_export",
    "load_card": "dataset_card",
    "card_names": "dataset_card",
    "study_blocks": "card_export",
}

__all__ = ["Check", "DatasetCard", "Finding", "card_names", "check", "datasets_page", "load_card", "study_blocks"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
