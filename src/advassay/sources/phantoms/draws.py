"""Random numbers keyed by (seed, name, entity), so that no draw depends on any other or on their order.

A counter-based generator: the 64-bit finaliser of SplitMix64 (Steele, Lea, Flood 2014, OOPSLA, "Fast
splittable pseudorandom number generators") applied to seed, name and entity number, in turn. Adding a draw
changes no other draw; a batch gives bit for bit what its images give alone.
"""

from __future__ import annotations

import zlib

import numpy as np
from scipy.special import ndtri

_GOLDEN, _ODD = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
_TO_UNIT = 2.0**-53


def _mix(value: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: a bijection of 64-bit integers in which every input bit moves every output bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


class Draws:
    """Draws for the entities (patients, slides or images) of a batch; every result has shape (batch, 1, 1).

    >>> a = Draws(7, "patient", np.array([3, 4, 5])).normal("height")
    >>> b = Draws(7, "patient", np.array([4])).normal("height")
    >>> bool(a[1, 0, 0] == b[0, 0, 0])
    True
    """

    def __init__(self, seed: int, kind: str, entities: np.ndarray) -> None:
        start = np.uint64((seed * _GOLDEN + zlib.crc32(kind.encode()) * _ODD) % 2**64)
        self._entities = _mix(_mix(np.asarray(entities, np.uint64) + start) + start)

    def keys(self, name: str) -> np.ndarray:
        """(batch,) 64-bit keys of the draw `name`."""
        return _mix(self._entities + np.uint64(zlib.crc32(name.encode()) * _GOLDEN % 2**64))

    def unit(self, name: str) -> np.ndarray:
        """(batch, 1, 1) float64, uniform in the open interval (0, 1)."""
        bits = (self.keys(name) >> np.uint64(11)).astype(np.float64)
        return ((bits + 0.5) * _TO_UNIT)[:, None, None]

    def uniform(self, name: str, low: float, high: float) -> np.ndarray:
        """(batch, 1, 1) float32, uniform between `low` and `high`."""
        return (low + (high - low) * self.unit(name)).astype(np.float32)

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
        """(batch, 1, 1) float32, Gaussian."""
        return (mean + sd * ndtri(self.unit(name))).astype(np.float32)

    def generators(self, name: str) -> list[np.random.Generator]:
        """One generator per entity, for draws of many numbers (noise, vessels, nuclei)."""
        return [np.random.Generator(np.random.SFC64(int(key))) for key in self.keys(name)]
