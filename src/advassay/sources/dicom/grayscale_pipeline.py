"""Stored values → [0, 1] → whole grey levels: the grey-scale pipeline of PS3.4 §N.2, as one table per image.

A stored value has at most 16 bits, so what happens to an image is a table from every value it could store to a
uint16. The chain runs once over that table in float64 (exact, and independent of the image's size).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray


class StoredRange(NamedTuple):
    """Lowest and highest value that (0028,0101) Bits Stored and (0028,0103) Pixel Representation allow."""

    low: int
    high: int

    @property
    def values(self) -> Floats:
        """Every value of the range in order: float64 (high - low + 1,)."""
        return np.arange(self.low, self.high + 1, dtype=np.float64)


def stored_range(bits_stored: int, signed: bool) -> StoredRange:
    """PS3.5 §8.1.1: unsigned, or two's complement.

    >>> stored_range(12, False), stored_range(12, True)
    (StoredRange(low=0, high=4095), StoredRange(low=-2048, high=2047))
    """
    half = 1 << (bits_stored - 1)
    return StoredRange(-half, half - 1) if signed else StoredRange(0, 2 * half - 1)


def grey_table(ds: Any, stored: StoredRange, scaling: str) -> np.ndarray:
    """For every value of `stored`, the grey level it becomes: (high - low + 1,) uint8 or uint16, dark to bright.

    scaling `voi`: Modality LUT, then VOI LUT or window, uint16 over [0, 65535]; without either it is `full-range`.
    Any other: the Modality LUT's whole output over the whole range of the result (a cohort's `percentile` stretches
    it later), uint8 where at most 8 bits are stored. MONOCHROME1 is turned around at the end, so that bright is
    always bright. Raises ValueError, AttributeError, IndexError or TypeError for LUTs and windows against PS3.3 §C.11.
    """
    modality, reach = apply_modality(ds, stored)
    unit = apply_voi(ds, modality) if scaling == "voi" else None
    if unit is None:
        unit = (modality - reach[0]) / (reach[1] - reach[0])
    # (0028,0004) Photometric Interpretation, PS3.3 §C.7.6.3.1.2: in MONOCHROME1 the lowest value is white. DX says it
    # again in (2050,0020) Presentation LUT Shape INVERSE (§C.8.11.3.1.2), which must not turn it around twice.
    if ds.PhotometricInterpretation == "MONOCHROME1":
        unit = 1.0 - unit
    depth = np.uint8 if scaling != "voi" and stored.high - stored.low < 256 else np.uint16
    return np.rint(np.clip(unit, 0.0, 1.0) * np.iinfo(depth).max).astype(depth)


def apply_modality(ds: Any, stored: StoredRange) -> tuple[Floats, tuple[float, float]]:
    """Modality LUT of `ds` for every stored value, PS3.3 §C.11.1; and its lowest and highest result."""
    values = stored.values
    # (0028,3000) Modality LUT Sequence wins over rescale: only one of them may be there.
    if ds.get("ModalityLUTSequence"):
        table, _ = lookup(ds, ds.ModalityLUTSequence[0], values)
        return table, _reach(table)
    # (0028,1053) Rescale Slope and (0028,1052) Rescale Intercept, §C.11.1.1.2
    slope, intercept = _number(ds, "RescaleSlope", 1.0), _number(ds, "RescaleIntercept", 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ValueError(f"(0028,1053) Rescale Slope: a finite number that is not 0, got {slope:g}")
    scaled = values * slope + intercept
    return scaled, _reach(scaled)


def _reach(table: Floats) -> tuple[float, float]:
    low, high = float(table.min()), float(table.max())
    if low == high:
        raise ValueError("(0028,3006) LUT Data: at least two different entries")
    return low, high


def apply_voi(ds: Any, modality: Floats) -> Floats | None:
    """VOI LUT or first window of `ds`, PS3.3 §C.11.2: float64 in [0, 1]; None where `ds` has neither."""
    # (0028,3010) VOI LUT Sequence: the first of the alternatives, before any window, as pydicom chooses
    if ds.get("VOILUTSequence"):
        table, top = lookup(ds, ds.VOILUTSequence[0], modality)
        return table / top
    # (0028,1050) Window Center and (0028,1051) Window Width: the first pair of the alternatives
    if ds.get("WindowWidth") in (None, "") or ds.get("WindowCenter") in (None, ""):
        return None
    center, width = _number(ds, "WindowCenter"), _number(ds, "WindowWidth")
    return window(modality, center, width, str(ds.get("VOILUTFunction") or "LINEAR").upper())


def window(values: Floats, center: float, width: float, function: str = "LINEAR") -> Floats:
    """(0028,1056) VOI LUT Function applied to `values`: float64 in [0, 1].

    Raises ValueError for a width the function does not allow, or an unknown function.

    >>> window(np.array([-1.0, 0.0, 5.0, 10.0, 11.0]), 5.5, 11.0).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if not np.isfinite([center, width]).all() or width <= 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"(0028,1051) Window Width: 1 or more (LINEAR), above 0 (others), got {width:g}")
    if function == "LINEAR":  # PS3.3 §C.11.2.1.2.1
        center, width = center - 0.5, width - 1.0
    elif function == "SIGMOID":  # §C.11.2.1.3.1; an exponent beyond 700 overflows and changes nothing
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
    elif function != "LINEAR_EXACT":  # §C.11.2.1.3.2
        raise ValueError(f"(0028,1056) VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID, got {function[:20]!r}")
    if width == 0:  # LINEAR of width 1 is a threshold
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def lookup(ds: Any, item: Any, values: Floats) -> tuple[Floats, float]:
    """`values` through the LUT of a sequence item, and the largest value an entry can hold; PS3.3 §C.11.1.1.

    (0028,3002) LUT Descriptor: number of entries (0 = 65536), first value mapped, bits per entry. Values below the
    first take the first entry, values beyond the last take the last. Raises ValueError for a LUT of another length.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    if not 8 <= bits <= 16:
        raise ValueError(f"(0028,3002) LUT Descriptor: 8 to 16 bits per entry, got {bits}")
    table = _lut_data(ds, item, entries)
    if len(table) != entries:
        raise ValueError(f"(0028,3006) LUT Data: {entries} entries, got {len(table)}")
    if first > 0x7FFF and values.min() < 0:  # §C.11.1.1: signed where the input is; read as US by some writers
        first -= 1 << 16
    places = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    return np.minimum(table[places], (1 << bits) - 1).astype(np.float64), float((1 << bits) - 1)


def _lut_data(ds: Any, item: Any, entries: int) -> np.ndarray:
    """(0028,3006) LUT Data as whole numbers; its VR is US or OW, and 8-bit entries may lie two in a word."""
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64))
    little = ds.original_encoding[1] is not False
    if len(data) < 2 * entries:
        return np.frombuffer(data, np.uint8)[:entries].astype(np.int64)
    return np.frombuffer(data[: 2 * entries], "<u2" if little else ">u2").astype(np.int64)


def _number(ds: Any, keyword: str, default: float | None = None) -> float:
    """The first value of a DS element; `default` where it is absent or empty."""
    from pydicom.multival import MultiValue

    value: Any = ds.get(keyword)
    if value in (None, "") and default is not None:
        return default
    return float(next(iter(value)) if isinstance(value, list | tuple | MultiValue) else value)
