"""Pixel Data → words as decoded, after what the stream says has been compared with what the header says."""

from __future__ import annotations

from typing import Any

import numpy as np

from advassay.sources.dicom.codestream import StreamFacts, read_codestream
from advassay.sources.unreadable import Unreadable

STREAM_BITS = "stream of another depth than the header's"
BYTES_LEFT = "more bytes than the image needs"
_RLE = "1.2.840.10008.1.2.5"  # its segments hold the bytes of words: no depth or sign of their own (PS3.5 annex G)


def decode_words(ds: Any) -> tuple[np.ndarray, list[str]] | Unreadable:
    """Words of (7FE0,0010) Pixel Data, (height, width) of 8 or 16 bits, signed as the header says; and notes.

    Unreadable where stream and header contradict each other in a way that would change the picture. Raises for what
    does not decode.
    """
    from advassay.sources.dicom.headers import transfer_syntax

    if not ds.file_meta.get("TransferSyntaxUID"):  # no file meta: the decoder needs to be told
        ds.file_meta.TransferSyntaxUID = transfer_syntax(ds)
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return _native(ds, syntax)
    if syntax == _RLE:
        return _by_pydicom(ds), []
    return _compressed(ds)


def _native(ds: Any, syntax: Any) -> tuple[np.ndarray, list[str]] | Unreadable:
    rows, columns, bits = int(ds.Rows), int(ds.Columns), int(ds.BitsAllocated)
    needed, there = rows * columns * bits // 8, len(ds.PixelData)
    if there >= 2 * needed + 2:
        detail = f"{there:,} bytes of pixel data, {columns} × {rows} pixels of {bits} bits need {needed:,}"
        return Unreadable("damaged", detail)
    notes = [BYTES_LEFT] if there > needed + 1 else []
    if not syntax.is_little_endian or there < needed:
        return _by_pydicom(ds), notes
    sign = "i" if int(ds.get("PixelRepresentation") or 0) == 1 else "u"
    words = np.frombuffer(ds.PixelData, f"<{sign}{bits // 8}", rows * columns)
    return words.reshape(rows, columns).astype(words.dtype.newbyteorder("="), copy=False), notes


def _compressed(ds: Any) -> tuple[np.ndarray, list[str]] | Unreadable:
    """A frame of JPEG, JPEG-LS or JPEG 2000."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder

    try:
        get_decoder(ds.file_meta.TransferSyntaxUID)
    except NotImplementedError:
        return Unreadable("unsupported pixels", f"no decoder for {ds.file_meta.TransferSyntaxUID.name}")
    stream = read_codestream(get_frame(ds.PixelData, 0, number_of_frames=1))
    if stream is None:
        return Unreadable("damaged", "the compressed stream has no header")
    if (contradiction := _contradiction(stream, ds)) is not None:
        return Unreadable("damaged", contradiction)
    words = _decoded_by_stream(ds, stream)
    signed = int(ds.get("PixelRepresentation") or 0) == 1
    if stream.signed is not None and stream.signed != signed and _sign_matters(words, stream.bits):
        says = ("unsigned", "signed")
        detail = f"the stream's values are {says[stream.signed]}, the header's {says[signed]}"
        return Unreadable("damaged", detail)
    return words, [STREAM_BITS] if stream.bits != int(ds.BitsStored) else []


def _contradiction(stream: StreamFacts, ds: Any) -> str | None:
    rows, columns = int(ds.Rows), int(ds.Columns)
    if stream.components != 1:
        return f"the stream holds {stream.components} components, the header says 1"
    if (stream.rows, stream.columns) != (rows, columns):
        return f"the stream holds {stream.columns} × {stream.rows} pixels, the header says {columns} × {rows}"
    if stream.bits > int(ds.BitsAllocated):
        return f"the stream's samples have {stream.bits} bits, the header allocates {int(ds.BitsAllocated)}"
    return None


def _decoded_by_stream(ds: Any, stream: StreamFacts) -> np.ndarray:
    """Words of the whole depth of the stream: with fewer bits in the header GDCM cuts off what lies beyond them."""
    stated = ds.BitsStored, ds.get("HighBit")
    ds.BitsStored, ds.HighBit = stream.bits, stream.bits - 1
    try:
        return _by_pydicom(ds)
    finally:
        ds.BitsStored, ds.HighBit = stated


def _sign_matters(words: np.ndarray, bits: int) -> bool:
    """Whether some value has the bit set that is a sign to one reader and 2^(bits-1) to the other."""
    return bool((words.astype(np.int32) & (1 << (bits - 1))).any())


def _by_pydicom(ds: Any) -> np.ndarray:
    """Words by pydicom and its plug-ins; which bits of them count is decided later."""
    from pydicom.pixels import pixel_array

    words = pixel_array(ds, correct_unused_bits=False)
    if words.shape != (int(ds.Rows), int(ds.Columns)):
        raise ValueError(f"decoded as {words.shape}")
    return words
