"""The first look at a file: is it DICOM, does it stay small when inflated, and which files a DICOMDIR names."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from typing import BinaryIO

from advassay.sources.read_failures import MAX_FILE_BYTES, Unreadable

_DEFLATED = b"1.2.840.10008.1.2.1.99"  # Deflated Explicit VR Little Endian
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"


def open_dicom_file(path: str | bytes, most_inflated: int = MAX_FILE_BYTES) -> BinaryIO | Unreadable:
    """The file at `path`, open at its start, or why it is no DICOM file to be read. Never raises for a bad file. A file
    packed by gzip (.dcm.gz) comes unpacked.

    With the 128-byte preamble and "DICM" of PS3.10 §7.1, or without both where it starts like a data set: a plausible
    element of group 0002 or 0008. A deflated data set must not grow beyond `most_inflated` bytes.
    """
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):  # a pipe would block
            return Unreadable("not a file", "a directory, pipe or device")
        if facts.st_size == 0:
            return Unreadable("empty file", "0 bytes")
        if facts.st_size > MAX_FILE_BYTES:
            return Unreadable("too large", f"{facts.st_size:,} bytes, at most {MAX_FILE_BYTES:,}")
        file: BinaryIO = open(path, "rb")  # noqa: SIM115 (handed on)
    except PermissionError:
        return Unreadable("no permission", "the file may not be read")
    except (OSError, ValueError) as error:
        return Unreadable("missing", type(error).__name__)
    if file.read(2) == _GZIP:
        with file:
            file.seek(0)
            unpacked = _gunzipped(file, most_inflated)
        if isinstance(unpacked, Unreadable):
            return unpacked
        file = unpacked
    file.seek(0)
    refused = _refusal(file, most_inflated)
    if refused is not None:
        file.close()
        return refused
    file.seek(0)
    return file


def _gunzipped(file: BinaryIO, most: int) -> BinaryIO | Unreadable:
    """What a gzip file (RFC 1952) holds, in memory; refused beyond `most` bytes."""
    inflate, parts, size = zlib.decompressobj(16 + zlib.MAX_WBITS), [], 0
    while chunk := file.read(_CHUNK):
        while chunk and not inflate.eof:
            try:
                parts.append(inflate.decompress(chunk, _CHUNK))
            except zlib.error:
                return Unreadable("damaged", "a gzip file that does not inflate")
            size += len(parts[-1])
            if size > most:
                return Unreadable("too large", f"inflates to {size:,} bytes or more, at most {most:,}")
            chunk = inflate.unconsumed_tail
    if not inflate.eof:
        return Unreadable("damaged", "a gzip file that is cut short")
    return io.BytesIO(b"".join(parts))


def _packed(start: bytes) -> Unreadable | None:
    """An archive of files by its first bytes: counted as what it is, never unpacked."""
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Unreadable("zip archive", "unpack it; its files are not read")
    formats = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
    name = next((name for magic, name in formats.items() if start.startswith(magic)), None)
    name = "tar" if start[257:262] == b"ustar" else name
    return Unreadable("packed archive", f"{name}: unpack it; its files are not read") if name else None


def _refusal(file: BinaryIO, most_inflated: int) -> Unreadable | None:
    start = file.read(1024)
    if start[128:132] != b"DICM" and not _starts_like_data_set(start):
        return _packed(start) or Unreadable("not DICOM", "no DICOM file by its first bytes")
    if _DEFLATED in start and (size := _inflated_size(file, start, most_inflated)) > most_inflated:
        return Unreadable("too large", f"inflates to {size:,} bytes or more, at most {most_inflated:,}")
    return None


def _starts_like_data_set(start: bytes) -> bool:
    """An element of group 0002 or 0008, with a VR in letters or a small 32-bit length, in either byte order."""
    if len(start) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack_from(f"{order}HHI", start)
        if group in (0x0002, 0x0008) and element <= 0x0100:
            return (start[4:6].isalpha() and start[4:6].isupper()) or length <= 1024
    return False


def _inflated_size(file: BinaryIO, start: bytes, most: int) -> int:
    """Bytes that the deflated data set (PS3.5 §A.5) grows to; stops counting once `most` is passed, keeps nothing.

    The deflated stream begins after group 0002, whose length (0002,0000) says where that is; where it does not, 0.
    """
    place = start.find(b"\x02\x00\x00\x00UL\x04\x00")
    if place < 0:
        return 0
    file.seek(place + 12 + struct.unpack_from("<I", start, place + 8)[0])
    inflate, size, waiting = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while size <= most and not inflate.eof and (waiting := waiting or file.read(_CHUNK)):
        try:
            size += len(inflate.decompress(waiting, _CHUNK))
        except zlib.error:  # the reader says so
            return size
        waiting = inflate.unconsumed_tail  # after the stream's end it may keep what it held: `eof` ends the loop
    return size


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
