"""A DICOMDIR → the files it names. Runs in a worker process: it is as little to be trusted as an image."""

from __future__ import annotations

from advassay.sources.dicom.opening_file import open_dicom_file
from advassay.sources.unreadable import Unreadable


def read_directory(path: str | bytes) -> list[list[str]] | Unreadable:
    """(0004,1500) Referenced File ID, the parts of a path, of every IMAGE record, in order (PS3.3 §F.3.2.2)."""
    import pydicom

    file = open_dicom_file(path)
    if isinstance(file, Unreadable):
        return file
    with file:
        try:
            records = pydicom.dcmread(file).DirectoryRecordSequence
            ids = [record.get("ReferencedFileID") for record in records if record.get("DirectoryRecordType") == "IMAGE"]
        except MemoryError:
            return Unreadable("too large", "the directory does not fit into the memory of one reader")
        except Exception as error:  # pydicom raises whatever a broken element leads to
            return Unreadable("damaged", f"the directory does not read: {type(error).__name__}")
    return [[given] if isinstance(given, str) else [str(part) for part in given] for given in ids if given]
