"""Files from archives and hospitals → one manifest row per image. A bad file is a row with a reason.

Start reading in `opened.py` (what an open source is), then `indexing.py` (what becomes of it). Phantoms are a source
like any other. Names are re-exported lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.describing import SourceDescription, describe
    from advassay.sources.indexing import Index, index
    from advassay.sources.opened import OpenSource
    from advassay.sources.opening import open_source
    from advassay.sources.private import append_private, pseudonym_key
    from advassay.sources.unreadable import Unreadable

_HOME = {
    "Index": "indexing",
    "OpenSource": "opened",
    "SourceDescription": "describing",
    "Unreadable": "unreadable",
    "append_private": "private",
    "describe": "describing",
    "index": "indexing",
    "open_source": "opening",
    "pseudonym_key": "private",
}

__all__ = [
    "Index",
    "OpenSource",
    "SourceDescription",
    "Unreadable",
    "append_private",
    "describe",
    "index",
    "open_source",
    "pseudonym_key",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
