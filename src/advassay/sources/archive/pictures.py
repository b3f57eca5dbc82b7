"""Pixels of planned files: phantom chests, and what a file shows that has something wrong with it."""

from __future__ import annotations

import cv2
import numpy as np

from advassay.sources.archive.plan import PlannedFile
from advassay.sources.phantoms.chest.detector import expose
from advassay.sources.phantoms.chest.person import persons, positions
from advassay.sources.phantoms.chest.radiograph import attenuation


def picture(file: PlannedFile, seed: int) -> np.ndarray:
    """uint16 (rows, columns), bright = dense, filling `file.bits` bits; for `colour` uint8 (rows, columns, 3)."""
    if file.fate == "blank":
        return np.full((file.rows, file.columns), 2 ** (file.bits - 1), np.uint16)
    chest = _chest(file, seed)
    if file.view == "LL":  # no lateral anatomy: a narrow chest will do, since the tag is what counts
        chest = cv2.resize(chest[:, : file.rows // 2], (file.columns, file.rows), interpolation=cv2.INTER_AREA)
    left = (file.rows - file.columns) // 2
    grey = chest[:, left : left + file.columns] if file.view != "LL" else chest
    if file.fate == "colour":
        return _with_writing((grey >> 8).astype(np.uint8))
    if file.fate == "too small":
        grey = cv2.resize(grey, (40, 40), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(grey >> (16 - file.bits))


def _chest(file: PlannedFile, seed: int) -> np.ndarray:
    truth = {
        "age": np.array([float(file.years)]),
        "sex": np.array([file.sex or "F"]),
        "tuberculosis": np.array(["present" if file.tuberculosis else "absent"]),
        "aortic_rotation": np.array(["present" if file.aortic_rotation else "absent"]),
    }
    person = persons(seed, 1.0, np.array([file.number]), truth)
    position = positions(seed, np.array([file.image]))
    return expose(attenuation(person, position, file.rows), position)[0]


def _with_writing(grey: np.ndarray) -> np.ndarray:
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    cv2.putText(colour, "PHANTOM", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 220, 0), 2)
    return colour
