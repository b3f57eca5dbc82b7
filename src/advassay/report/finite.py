"""Tables without NaN and infinite numbers, which neither JSON nor a chart's data can hold."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs


def finite(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with null where a float is NaN or infinite, e.g. the PSNR (dB) of an image that did not change.

    >>> finite(pl.DataFrame({"psnr": [float("inf"), 37.5]}))["psnr"].to_list()
    [None, 37.5]
    """
    return frame.with_columns(pl.when(cs.float().is_finite()).then(cs.float()))
