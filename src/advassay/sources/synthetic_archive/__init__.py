"""A made-up hospital archive: DICOM files, a table of reports, and the truth beside them.

>>> from advassay.sources.synthetic_archive import write_archive
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
