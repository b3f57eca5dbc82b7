"""DICOM archives: headers of every file, then the pixels of those that are chosen.

Start reading in `dicom_source.py`. Names are re-exported lazily: pydicom is imported where a file is read.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__, "dicom")
