"""Pixel Data → stored values, where the stream, the header and the values agree on depth and sign."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from advassay.sources.dicom.grayscale_pipeline import StoredRange
from advassay.sources.read_failures import Unreadable


class StreamFacts(NamedTuple):
    """The samples of one frame as its stream declares them."""

    bits: int
    """Precision of a sample."""
    signed: bool | None
    """None where the format cannot say: JPEG and JPEG-LS hold unsigned patterns."""
    components: int
    rows: int
    columns: int


_J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, ISO/IEC 15444-1 §A.4.1, §A.5.1; also inside a JP2 file
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF of ITU-T T.81 §B.1.1.3, of JPEG-LS T.87 §C.1
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_MOST_MARKERS = 10_000


def read_codestream(frame: bytes) -> StreamFacts | None:
    """What a JPEG, JPEG-LS or JPEG 2000 frame declares; None where it has no header of these."""
    try:
        start = frame.find(_J2K_START, 0, 4096)
        return _jpeg2000(frame, start) if start >= 0 else _jpeg(frame)
    except (struct.error, IndexError):
        return None


def _jpeg2000(frame: bytes, start: int) -> StreamFacts:
    """The SIZ marker segment: reference grid and offset, then one depth byte a component (bit 7: signed)."""
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    components, depth = struct.unpack_from(">HB", frame, start + 40)
    return StreamFacts((depth & 0x7F) + 1, bool(depth & 0x80), components, bottom - top, right - left)


def _jpeg(frame: bytes) -> StreamFacts | None:
    """The frame header behind the first SOF marker."""
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    for _ in range(_MOST_MARKERS):
        if frame[place] != 0xFF:
            return None
        marker = frame[place + 1]
        if marker in _FRAMES:
            bits, rows, columns, components = struct.unpack_from(">BHHB", frame, place + 4)
            return StreamFacts(bits, None, components, rows, columns)
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 if marker in _BARE else 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None


STREAM_BITS = "stream of another depth than the header's"
BYTES_LEFT = "more bytes than the image needs"
_RLE = "1.2.840.10008.1.2.5"  # its segments hold the bytes of words: no depth or sign of their own (PS3.5 annex G)


def decode_words(ds: Any) -> tuple[np.ndarray, list[str]] | Unreadable:
    """Words of (7FE0,0010) Pixel Data, (height, width) of 8 or 16 bits, signed as the header says; and notes.

    Unreadable where stream and header contradict each other in a way that would change the picture. Raises for what
    does not decode.
    """
    from advassay.sources.dicom.header_reader import transfer_syntax

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


BITS_MASKED = "bits beyond Bits Stored masked"
VALUES_LOW = "High Bit contradicted by the values"


class StoredValues(NamedTuple):
    """values: the stored values, of any integer type; note: what had to be decided, or None."""

    values: np.ndarray
    note: str | None = None


def stored_values(words: np.ndarray, ds: Any, stored: StoredRange) -> StoredValues | Unreadable:
    """The values that `words` (8 or 16 bits each, (height, width)) hold, all within `stored`.

    (0028,0101) Bits Stored and (0028,0102) High Bit say which bits of a word are the value; the others have no meaning
    and are masked (PS3.5 §8.1.1), unless they prove to be part of it: then nothing is cut off and the image is refused.
    """
    bits, shift = int(ds.BitsStored), max(0, int(ds.get("HighBit") or 0) + 1 - int(ds.BitsStored))
    signed = stored.low < 0
    if not signed and not shift and words.max() <= stored.high and (words.dtype.kind == "u" or words.min() >= 0):
        return StoredValues(words)
    wide = words.astype(np.int32)
    note = None
    if shift and _lie_low(wide, shift, bits, signed):
        note, shift = VALUES_LOW, 0
    wide >>= shift
    values = wide & ((1 << bits) - 1)
    if signed:
        values = np.where(values > stored.high, values - (1 << bits), values)  # two's complement
    beyond = (wide - values) >> bits
    if not beyond.any() or (signed and not (wide >> bits).any()):  # negative values need not fill the bits above them
        return StoredValues(values, note)
    if has_overlay(ds):
        return StoredValues(values, note)
    if not _means_nothing(values, beyond, bits):
        return Unreadable("damaged", f"values beyond the {bits} bits stored")
    return StoredValues(values, BITS_MASKED)


def _lie_low(wide: np.ndarray, shift: int, bits: int, signed: bool) -> bool:
    """Whether the values lie in the low bits although High Bit puts them `shift` bits higher: the low bits are in use,
    and no word is larger than the low bits hold."""
    if not (wide & ((1 << shift) - 1)).any():
        return False
    low, high = int(wide.min()), int(wide.max())
    half = 1 << (bits - 1)
    return (low >= 0 and high < 2 * half) or (signed and low >= -half and high < half)


def _means_nothing(values: np.ndarray, beyond: np.ndarray, bits: int) -> bool:
    """Whether the bits beyond the stored ones are garbage: the picture goes on smoothly where they change.

    Were they the upper bits of larger values, masking them would make jumps of about 2^bits there.
    """
    jumps, usual = [], []
    for axis in (0, 1):
        steps, changes = np.abs(np.diff(values, axis=axis)), np.diff(beyond, axis=axis) != 0
        jumps.append(steps[changes])
        usual.append(steps[~changes])
    jump, calm = np.concatenate(jumps), np.concatenate(usual)
    if not jump.size:  # the same in every pixel
        return True
    mean = float(jump.mean())
    smooth = not calm.size or mean <= max(4 * float(calm.mean()), (1 << bits) / 64)
    return smooth and mean <= (1 << bits) / 8


def has_overlay(ds: Any) -> bool:
    """A group 60xx: in files before 2004 its bits may lie beside the value in Pixel Data (PS3.5 §8.1.2)."""
    return any(tag >> 16 & 0xFF00 == 0x6000 for tag in ds.keys())  # noqa: SIM118 (a Dataset iterates elements)
