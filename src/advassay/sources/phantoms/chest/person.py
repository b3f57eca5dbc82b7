"""Who is imaged and how: every anatomical and technical parameter of a batch, drawn before anything is drawn on.

Class signal enters here and nowhere else. A class moves the *mean* of a latent variable by `signal` × a constant; the
spread between patients around it stays. At signal 0 age and findings leave no trace: the same image
whatever the truth says. Sex is anatomy, not class signal; `signal` does not touch it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advassay.sources.phantoms.draws import Draws

YEARS_SPREAD = 5.0
"""Sd, in years, of how much older or younger than their age people's chests look."""
TUBERCULOSIS_SHIFT = 2.6
"""Distance of the class means, in sd between patients, of the disease load."""
AORTA_SHIFT = 2.6
"""The same, of the aorta's unfolding."""


@dataclass(frozen=True)
class Person:
    """Anatomy of each image's patient; (batch, 1, 1) float32. Lengths in half image widths (1 ≈ 20 cm)."""

    draws: Draws
    aged: np.ndarray
    """0 at 20 years, 1 at 70 years."""
    load: np.ndarray
    """Disease load; about −1 where nothing is to be seen, 1.5 for marked tuberculosis."""
    unfolding: np.ndarray
    """Of the aorta; 0 usual, 2.5 marked anterior rotation."""
    male: np.ndarray
    cage: np.ndarray
    """Width of the rib cage relative to the average."""
    fat: np.ndarray
    """Soft tissue in front of and behind the cage, relative."""
    bone: np.ndarray
    """Mineral density, relative."""
    heart: np.ndarray
    """Cardiothoracic ratio."""


@dataclass(frozen=True)
class Position:
    """How the patient stood in this exposure; (batch, 1, 1) float32."""

    draws: Draws
    inspiration: np.ndarray
    """Height of the diaphragm: positive = lower = deeper breath, in half image widths."""
    obliquity: np.ndarray
    """Turn about the body's long axis: how far structures at the front shift sideways against the spine."""


def persons(seed: int, signal: float, patient: np.ndarray, truth: dict[str, np.ndarray]) -> Person:
    """Anatomy of the patients `patient` (batch,), whose truth columns are `truth`."""
    d = Draws(seed, "patient", patient)

    def column(values: np.ndarray) -> np.ndarray:
        return np.asarray(values, np.float32)[:, None, None]

    strength = np.float32(signal)
    years = 45 + strength * (column(truth["age"]) - 45) + d.normal("years", sd=YEARS_SPREAD)
    aged = np.clip((years - 20) / 50, -0.2, 1.4)
    tuberculosis = column(truth["tuberculosis"] == "present")
    aorta = column(truth["aortic_rotation"] == "present")
    male = column(truth["sex"] == "M")
    return Person(
        draws=d,
        aged=aged,
        load=-1 + strength * TUBERCULOSIS_SHIFT * tuberculosis + d.normal("disease load"),
        unfolding=strength * AORTA_SHIFT * aorta + d.normal("unfolding") + 1.6 * (aged - 0.5),
        male=male,
        cage=0.93 + 0.06 * male + d.normal("cage", sd=0.03),
        fat=1.0 + 0.05 * male + 0.1 * (aged - 0.5) + d.normal("fat", sd=0.13),
        bone=1.25 - 0.65 * aged + d.normal("bone", sd=0.1),
        heart=np.clip(0.43 + 0.10 * (aged - 0.5) + d.normal("heart", sd=0.025), 0.34, 0.58),
    )


def positions(seed: int, index: np.ndarray) -> Position:
    """How the patient stood for the images `index` (batch,)."""
    d = Draws(seed, "image", index)
    return Position(
        draws=d,
        inspiration=np.clip(d.normal("inspiration", sd=0.03), -0.08, 0.06),
        obliquity=np.clip(d.normal("obliquity", sd=0.012), -0.035, 0.035),
    )
