"""A made-up hospital archive: DICOM files, a table of reports, and the truth beside them.

>>> from advassay.sources.synthetic_archive import write_archive
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__, "dicom")
