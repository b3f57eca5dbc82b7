"""A made-up hospital archive: DICOM files, a table of reports, and the truth beside them.

>>> from advassay.sources.synthetic_archive import write_archive
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.synthetic_archive.archive_plan import plan_archive
    from advassay.sources.synthetic_archive.archive_writer import write_archive

__all__ = ["plan_archive", "write_archive"]

_HOME = {
    "plan_archive": "archive_plan",
    "write_archive": "archive_writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
