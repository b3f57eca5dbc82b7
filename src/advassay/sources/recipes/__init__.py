"""Public data sets: what each contains, how to ask for it, and how its files become images with columns.

Start reading in `recipe_spec.py` (what a recipe says), then `sets/` (the recipes). Names are re-exported lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.recipes.catalogue import recipe, recipe_names
    from advassay.sources.recipes.checking import Check, Finding, check
    from advassay.sources.recipes.page import datasets_page
    from advassay.sources.recipes.pasting import study_blocks
    from advassay.sources.recipes.recipe_spec import Recipe

_HOME = {
    "Check": "checking",
    "Finding": "checking",
    "Recipe": "recipe_spec",
    "check": "checking",
    "datasets_page": "page",
    "recipe": "catalogue",
    "recipe_names": "catalogue",
    "study_blocks": "pasting",
}

__all__ = ["Check", "Finding", "Recipe", "check", "datasets_page", "recipe", "recipe_names", "study_blocks"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
