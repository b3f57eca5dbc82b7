"""DICOM archives: headers of every file, then the pixels of those that are chosen.

Start reading in `dicom_source.py`. Names are re-exported lazily: pydicom is imported where a file is read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.sources.dicom.dicom_source import DicomFiles, open_dicom

_HOME = {"DicomFiles": "dicom_source", "open_dicom": "dicom_source"}

__all__ = ["DicomFiles", "open_dicom"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
