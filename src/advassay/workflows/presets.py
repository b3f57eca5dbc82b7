"""What each preset of `advassay evaluate` attacks with, as data. Nothing else lists them.

Every arm is an attack that a study file could state. The first arm decides: its margin loss does not saturate, and its
steps of ε/4 are fine enough for the small amplitudes at which undefended networks fall.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from advassay.errors import SpecError
from advassay.spec.attack_components import LOSSES, UPDATE_RULES
from advassay.spec.attack_spec import Amplitude
from advassay.spec.base_model import Frozen
from advassay.study.config.study_templates import DEFAULT_ARMS

PresetName = Literal["quick", "standard", "full"]
DECIDING = "margin"
"""The arm that decides."""
SHOWN_EPSILON = 2 / 255
"""Amplitude of the first sentences and of the figures, where it is attacked: two grey levels, which nobody sees."""
GREY_LEVELS: tuple[float, ...] = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
"""Amplitudes that are always attacked: results of other people are stated at them."""

_MARGIN: dict[str, Any] = {"update": "projected-sign", "loss": "margin", "step_sizes": ["epsilon/4"]}
_CROSS_ENTROPY: dict[str, Any] = _MARGIN | {"loss": "cross-entropy"}
REFERENCE_EPSILONS = tuple(round(0.02 * number, 2) for number in range(1, 11))
"""Those of the reference study (Kovalev & Voynov 2019), whose first arm is cross-entropy with steps of 0.01."""
_FIXED = tuple(2.0**power / 255 for power in range(-4, 5))
"""1/16 to 16 grey levels, each twice the one before."""


class Preset(Frozen):
    """One preset. Its arms are arms of a study; an arm without `epsilons` gets the preset's grid."""

    about: str
    """What it is for, in one sentence."""
    arms: dict[str, dict[str, Any]]
    steps: int
    images: int | None
    """Images that are attacked at most; null = all."""
    epsilons: tuple[Amplitude, ...] | None
    """The grid; null = found on a few images that are then left out, and joined with GREY_LEVELS."""
    besides: dict[str, tuple[Amplitude, ...]] = {}
    """Arm → amplitudes that are joined to its grid."""
    range_points: int = 8
    """Amplitudes of the grid that is found."""
    range_images: int = 64
    """Images that it is found on, at most …"""
    range_share: float = Field(0.2, gt=0, lt=1)
    """… and at most this share of the images (whole patients)."""
    control_images: int = 16
    doubling_images: int = 16
    doubling: Literal["sample"] | None = "sample"
    """Whether twice the iterations are tried on as many images as question 3 needs, which takes longer than the attack
    itself; or on a sample."""
    planted_images: int = 8
    """Images with a planted adversarial that the deciding arm must find."""
    precision: Literal["exact", "fast32", "fast"]
    """exact: nothing about the network is rewritten, so nothing is searched for before the attack begins."""


PRESETS: dict[PresetName, Preset] = {
    "quick": Preset(
        about="A first look within about a minute for a small model: 32 images, nine fixed amplitudes.",
        arms={DECIDING: _MARGIN},
        steps=10,
        images=32,
        epsilons=_FIXED,
        control_images=8,
        doubling_images=8,
        precision="exact",
    ),
    "standard": Preset(
        about="The amplitudes are found first; margin loss and cross-entropy on all images, with every control.",
        arms={DECIDING: _MARGIN, "cross-entropy": _CROSS_ENTROPY},
        steps=20,
        images=None,
        epsilons=None,
        planted_images=16,
        precision="fast",
    ),
    "full": Preset(
        about=(
            "As standard; besides, the worst-case suite (Auto-PGD; targeted Auto-PGD, FAB, Square and HopSkipJump on "
            "samples), and the two attacks of the reference study."
        ),
        arms={
            DECIDING: _MARGIN,
            "cross-entropy": _CROSS_ENTROPY | {"step_sizes": ["epsilon/4", *DEFAULT_ARMS["A"]["step_sizes"]]},
            "apgd-margin": {"update": "apgd", "loss": "margin", "restarts": 2},
            "apgd-cross-entropy": {"update": "apgd", "loss": "cross-entropy", "restarts": 2},
            "apgd-dlr": {"update": "apgd", "loss": "dlr", "restarts": 2},
            "reference": DEFAULT_ARMS["B"],
            "apgd-targeted": {"update": "apgd-targeted", "loss": "dlr", "steps": 20, "images": 16},
            "fab": {"update": "fab", "loss": "margin", "steps": 20, "images": 32},
            "square": {"update": "square", "loss": "margin", "steps": 500, "images": 32},
            "hopskipjump": {"update": "hopskipjump", "loss": "margin", "steps": 10, "images": 8},
        },
        steps=20,
        images=None,
        epsilons=None,
        besides={"cross-entropy": REFERENCE_EPSILONS},
        control_images=32,
        doubling_images=32,
        doubling=None,
        planted_images=32,
        precision="fast",
    ),
}


def preset_named(name: str) -> Preset:
    """The preset of that name. Raises SpecError for another name.

    >>> preset_named("quick").images
    32
    """
    if name not in PRESETS:
        known = ", ".join(get_args(PresetName))
        raise SpecError(f"preset: one of {known}, got {name!r}.", "Leave it out for standard.")
    return PRESETS[name]  # type: ignore[index]


def arms_for(preset: Preset, classes: int) -> dict[str, dict[str, Any]]:
    """The preset's arms for a model of so many classes, without those of `left_out`.

    >>> "apgd-dlr" in arms_for(PRESETS["full"], 2), "apgd-dlr" in arms_for(PRESETS["full"], 3)
    (False, True)
    """
    out = left_out(preset, classes)
    return {name: arm for name, arm in preset.arms.items() if name not in out}


def left_out(preset: Preset, classes: int) -> dict[str, str]:
    """Arm of the preset that cannot be run → why, in a sentence: too few classes, or a library that is not installed.

    >>> left_out(PRESETS["full"], 2)["apgd-dlr"]
    'apgd-dlr was not run: it needs 3 or more classes, and the model has 2.'
    """
    out = {}
    for name, arm in preset.arms.items():
        rule = UPDATE_RULES.get(arm["update"])
        least = max(LOSSES.get(arm["loss"]).minimum_classes[0], rule.least_classes)
        missing = rule.missing_library()
        if classes < least:
            out[name] = f"{name} was not run: it needs {least} or more classes, and the model has {classes}."
        elif missing:
            out[name] = f"{name} was not run: {missing}"
    return out
