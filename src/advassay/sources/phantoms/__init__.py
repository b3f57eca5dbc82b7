"""Phantoms: chest radiographs and H&E-like histology tiles made by the program, with the truth as a table.

A machine without data runs the whole study on them, and large-n experiments get a known truth. Public:
`table` (who is who), `render` (the pixels) and `landmarks` (where things are). All are deterministic by (seed, index).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.phantoms.anatomy import landmarks
    from advassay.sources.phantoms.rendering import render
    from advassay.sources.phantoms.truth import table

__all__ = ["landmarks", "render", "table"]


_HOME = {"landmarks": "anatomy", "render": "rendering", "table": "truth"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
