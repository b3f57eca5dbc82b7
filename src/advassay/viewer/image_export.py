"""A proved iterate as a PNG of the prepared images' depth, with what it is written inside the file."""

from __future__ import annotations

from typing import Literal

import numpy as np

from advassay.errors import StoreError
from advassay.png_files import encode_png
from advassay.records.gallery import grey_levels
from advassay.records.run_header import RunHeader
from advassay.report.figures.image_panels import difference, magnification
from advassay.report.output.figure_files import in_png
from advassay.viewer.recomputation import Recomputed

What = Literal["clean", "attacked", "difference"]
"""The prepared image; an iterate; 0.5 + factor · (iterate − prepared image), of 8 bits."""


def png(
    made: Recomputed, header: RunHeader, what: What, *, image_id: str, step_size: str, epsilon: float, step: int
) -> bytes:
    """PNG with international text chunks Title and Description: cohort, arm, point, weights and what the proof says.

    Rounded to the depth of the prepared images, so that its decision may differ from the iterate's by that. Raises
    StoreError where the iterates are not proved or there is no such step.
    """
    if made.iterates is None or not made.proof.shown:
        raise StoreError("image: it is not proved to be the recorded one.", "Nothing of it is given away.")
    if not 0 <= step < len(made.iterates):
        raise StoreError(f"step: 0 to {len(made.iterates) - 1}, got {step}.")
    clean, attacked = (grey_levels(made.iterates[k], header.bits) for k in (0, step))
    point = f"arm {header.arm}, step size {step_size}, ε = {epsilon:g}, iterate {step} of {header.steps}"
    named = {
        "clean": "Prepared image",
        "attacked": f"Attacked image, {point}",
        "difference": f"Difference × {factor_of(clean, attacked, header, epsilon):g}, mid-grey unchanged, {point}",
    }
    depth = "8" if what == "difference" else str(header.bits)
    about = (
        f"{named[what]}. Cohort {header.cohort}, image {image_id}, run {header.run_id}, network {header.classifier} "
        f"(weights SHA-256 {header.weights_sha256}). {made.proof.reason} Rounded to {depth} bits."
    )
    shown = {"clean": clean, "attacked": attacked}.get(what)
    if shown is None:
        shown = difference(clean, attacked, factor_of(clean, attacked, header, epsilon))
    return in_png(encode_png(shown), f"{header.cohort} {image_id}: {what}", about)


def factor_of(clean: np.ndarray, attacked: np.ndarray, header: RunHeader, epsilon: float) -> float:
    """The factor at which the largest change that the attack may make fills the grey scale; of L2 the largest made."""
    if header.attack.get("norm", "linf") == "linf":
        return magnification(epsilon)
    top = float(np.iinfo(clean.dtype).max)
    return magnification(max(float(np.abs(attacked.astype(np.float64) - clean).max()) / top, 1e-9))
