"""Did you mean …? For names that are not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names what of `known` is closest to `name`, with a space after it; empty where nothing is close.

    >>> did_you_mean("lc2500", ["lc25000", "pcam"]), did_you_mean("Sex", ["age", "sex"]), did_you_mean("x", ["age"])
    ("Did you mean 'lc25000'? ", "Did you mean 'sex'? ", '')
    """
    plain = {one.lower(): one for one in reversed(list(known))}
    close = difflib.get_close_matches(name.lower(), plain, n=1)
    return f"Did you mean {plain[close[0]]!r}? " if close else ""
