"""What every spec is built on: the frozen model, and numbers of any library as Python's own."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of every spec: immutable, and an unknown field is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def plain_number(value: Any) -> Any:
    """A scalar of NumPy, PyTorch or the standard library as Python's own number; anything else as it is.

    A float32 becomes the shortest decimal that stands for it: 5/255 in float32 and 0.03 mean what they say.

    >>> plain_number(np.float32(0.03)), plain_number(np.int64(4)), plain_number("5/255")
    (0.03, 4, '5/255')
    """
    if isinstance(value, int | float | str) and type(value).__module__ == "builtins":
        return value
    if callable(getattr(value, "item", None)) and getattr(value, "shape", None) is not None and len(value.shape) == 0:
        number = value.item()
        single = str(value.dtype).removeprefix("torch.") == "float32"
        return float(str(np.float32(number))) if single else number
    if isinstance(value, Real | Decimal) and not isinstance(value, bool):
        return float(value)
    return value


def plain_numbers(value: Any) -> Any:
    """An array or tensor of one axis as a tuple of Python's numbers; anything else as `plain_number` gives it."""
    if callable(getattr(value, "tolist", None)) and len(getattr(value, "shape", ())) == 1:
        return tuple(plain_number(each) for each in value)
    return plain_number(value)
