"""Amplitudes as readers of the first screen see them: grey levels of 255, or an L2 length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


def in_grey_levels(findings: Findings) -> bool:
    """Whether ε of the deciding arm bounds each pixel, so that it can be said in grey levels."""
    return findings.headers()[0].attack.get("norm") == "linf"


def scale(findings: Findings) -> int:
    """What an ε of the deciding arm is multiplied by before it is written."""
    return 255 if in_grey_levels(findings) else 1


def unit_text(findings: Findings) -> str:
    """What stands behind an amplitude."""
    return "grey levels of 255" if in_grey_levels(findings) else "in L2 length (images in [0, 1])"


def level_text(findings: Findings, epsilon: float) -> str:
    """An amplitude in a sentence: "2/255"; of L2 attacks as it is."""
    return f"{epsilon * 255:.3g}/255" if in_grey_levels(findings) else f"an L2 length of {epsilon:.3g}"


def images_of(row: Mapping[str, Any]) -> str:
    """How many images a number rests on, and patients where they are known."""
    patients = row.get("patients")
    return f"{row['n']} images" + (f" of {patients} patients" if patients is not None else "")
