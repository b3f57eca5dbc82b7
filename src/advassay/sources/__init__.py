"""Files from archives and hospitals → one manifest row per image. A bad file is a row with a reason.

Start reading in `base.py` (what an open source is), then `image_index.py` (what becomes of it). Phantoms are a source
like any other. Names are re-exported lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.base import OpenSource
    from advassay.sources.image_index import Index, index
    from advassay.sources.pseudonyms import append_private, pseudonym_key
    from advassay.sources.read_failures import Unreadable
    from advassay.sources.source_description import SourceDescription, describe
    from advassay.sources.source_opener import open_source

_HOME = {
    "Index": "image_index",
    "OpenSource": "base",
    "SourceDescription": "source_description",
    "Unreadable": "read_failures",
    "append_private": "pseudonyms",
    "describe": "source_description",
    "index": "image_index",
    "open_source": "source_opener",
    "pseudonym_key": "pseudonyms",
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
