"""Identity by content: canonical JSON → short hash; pixels → image_id; patient → pseudonym.

The same function names a thing before it is made (a plan) and after (its record), so that resume, skip,
extend and merge are set arithmetic over identities.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any

import numpy as np

ID_LENGTH = 16  # hex digits = 64 bits: a clash among 10⁷ images has probability about 3e-6


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, and no NaN: equal values give equal text.

    Raises ValueError for NaN or infinity, TypeError for what JSON does not hold.

    >>> canonical_json({"b": 1.0, "a": [1, None]})
    '{"a":[1,null],"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def content_hash(value: Any, length: int = ID_LENGTH) -> str:
    """First `length` hex digits of the SHA-256 of the canonical JSON of `value`.

    >>> content_hash({"epsilon": 0.02}) == content_hash({"epsilon": 0.02})
    True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def image_id(pixels: np.ndarray) -> str:
    """Hash of the pixel content: dtype, shape and values; independent of file name and compression.

    `pixels`: (height, width) or (height, width, channel), unsigned 8- or 16-bit, as decoded, before any
    scaling.

    >>> image_id(np.zeros((2, 2), np.uint8)) != image_id(np.zeros((2, 2), np.uint16))
    True
    """
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{little.shape}".encode())
    digest.update(little.data)
    return digest.hexdigest()[:ID_LENGTH]


def pseudonym(key: bytes, original_id: str) -> str:
    """Keyed hash (HMAC-SHA-256) of an original patient id; without the key it cannot be recomputed.

    >>> pseudonym(b"k", "P1") == pseudonym(b"k", "P1") != pseudonym(b"other", "P1")
    True
    """
    return "p" + hmac.new(key, original_id.encode(), hashlib.sha256).hexdigest()[:ID_LENGTH]


def draw(seed: int, *content: str | int | float) -> int:
    """A 64-bit number keyed by content, for seeded orders and generators that ignore processing order.

    >>> draw(0, "image", 3) == draw(0, "image", 3) != draw(1, "image", 3)
    True
    """
    text = canonical_json([seed, *content])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def draw_each(seed: int, *content: str | int | float, ids: Iterable[str]) -> np.ndarray:
    """`draw(seed, *content, id)` of every id, uint64 (id,), several times faster: for millions of rows.

    >>> draw_each(0, "image", ids=["a", "b"]).tolist() == [draw(0, "image", "a"), draw(0, "image", "b")]
    True
    """
    start = canonical_json([seed, *content])[:-1].encode() + b","
    digests = [hashlib.sha256(start + encode_basestring(one).encode() + b"]").digest()[:8] for one in ids]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def canonical_float(value: float) -> float:
    """Round to 12 significant digits, so that 0.02 * 3 and 0.06 are one amplitude.

    >>> canonical_float(0.02 * 3) == 0.06
    True
    """
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return float(f"{value:.12g}")
