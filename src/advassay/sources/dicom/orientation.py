"""Which way a radiograph lies: (0020,0020) Patient Orientation, PS3.3 §C.7.6.1.1.1.

Its first value says where the rows lead to, its second where the columns lead to: L, R, A, P, H or F of the patient. A
frontal chest is looked at from the front, the patient's left on the image's right: L\\F.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ORIENTATIONS = {
    ("L", "F"): "standard",
    ("R", "F"): "mirrored",
    ("L", "H"): "upside down",
    ("R", "H"): "rotated by 180°",
    **{(along, across): "lying" for along in "HF" for across in "LR"},
}
"""First letters of rows and columns → what rules see, of a frontal image."""
_SIDEWAYS = {(along, across): "standard" for along in "AP" for across in "F"}


def orientation_words(first: str | None, second: str | None) -> str | None:
    """What the two values of Patient Orientation say: a value of ORIENTATIONS, "other", or None where they are not
    stated. Only the first letter of each counts: the rest says how far it leans.

    >>> [orientation_words(*pair) for pair in (("R", "F"), ("LA", "F"), ("A", "F"), ("", ""))]
    ['mirrored', 'standard', 'standard', None]
    """
    letters = (first or "").strip().upper()[:1], (second or "").strip().upper()[:1]
    if not all(letters):
        return None
    return ORIENTATIONS.get(letters) or _SIDEWAYS.get(letters) or "other"


def orientation_of(ds: Any) -> tuple[str, str] | None:
    """Letters of rows and columns of a frontal image; None where they are not stated or not of a frontal image."""
    stated = ds.get("PatientOrientation")
    parts = [str(part).strip().upper()[:1] for part in stated] if stated and not isinstance(stated, str) else []
    letters = tuple(parts)
    return letters if letters in ORIENTATIONS else None  # type: ignore[return-value]


def turned(image: np.ndarray, letters: tuple[str, str] | None) -> np.ndarray:
    """`image` turned and mirrored until its rows lead to the patient's left and its columns to the feet.

    >>> turned(np.array([[1, 2], [3, 4]]), ("R", "F")).tolist(), turned(np.array([[1, 2], [3, 4]]), ("F", "L")).tolist()
    ([[2, 1], [4, 3]], [[1, 3], [2, 4]])
    """
    if letters is None or letters == ("L", "F"):
        return image
    along, down = letters
    if along in "HF":
        image, along, down = image.T, down, along
    if along == "R":
        image = image[:, ::-1]
    if down == "H":
        image = image[::-1]
    return image.copy()
