"""DICOM archives: headers of every file, then the pixels of those that are chosen.

Start reading in `dicom_source.py`. Names are re-exported lazily: pydicom is imported where a file is read.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
