"""Decoded words → stored values: which bits of a word hold the value, judged by the header and by the values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from advassay.sources.dicom.rendering import StoredRange
from advassay.sources.unreadable import Unreadable

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
