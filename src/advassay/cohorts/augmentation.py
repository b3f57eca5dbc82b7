"""Copies of one class's images, changed a little, so that the class reaches a stated size: which, and how.

A copy is made from its parent as stored (after a region's crop), at native depth, and then prepared like any other
image. What it looks like depends on (seed, parent image_id, number of the copy) and on the strengths alone. Borders are
mirrored: black corners would tell the class that was augmented.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import polars as pl

from advassay.cohorts.selection_counts import SelectionCounts
from advassay.cohorts.split import ROLES
from advassay.identity import content_hash, draw
from advassay.spec.cohort_spec import AugmentationSpec, CohortSpec

RECIPE = 1
"""Raised when the same (seed, parent, number) would give other pixels."""
SMOOTHNESS = 1 / 10
"""Standard deviation of the elastic field's smoothing, as a share of each side (Simard et al. 2003)."""
_FIELD_PX = 64
"""Side at which the elastic field is drawn; it is smooth, so no more is needed."""

WARNINGS = {
    "before-split": (
        "augmentation: copies were made before the split, so copies of one image are in training and in validation: "
        "scores and success rates are optimistic (sides: training avoids it).",
    ),
    "both": (
        "augmentation: validation images of one class only were copied, so the network may recognise what copying does "
        "to an image instead of the class: scores are optimistic (sides: training avoids it).",
    ),
}
"""What a reader should know of each choice of `sides`; docs/results/augmentation.md has how much it is."""


def warnings_of(spec: CohortSpec) -> tuple[str, ...]:
    """What is known against a cohort's augmentation before anything is prepared."""
    return () if spec.augmentation is None else WARNINGS.get(spec.augmentation.sides, ())


class Copy(NamedTuple):
    """One copy to be made: its own name and what it is made from."""

    image_id: str
    parent: str
    number: int


def with_copies(images: pl.DataFrame, spec: CohortSpec, seed: int, flow: SelectionCounts) -> pl.DataFrame:
    """`images` and the copies `spec.augmentation` asks for, in columns parent_image_id and copy_number (null: no copy).

    images: image_id, class_name, patient_id and, but for `before-split`, role. A copy has its own image_id (a hash of
    its parent's content and of how it is made) and everything else of its parent: patient, role, carried columns.
    """
    rule = spec.augmentation
    plain = images.with_columns(
        pl.lit(None, pl.String).alias("parent_image_id"), pl.lit(None, pl.Int64).alias("copy_number")
    )
    if rule is None:
        return plain
    wanted = _wanted(images, spec, rule)
    parts = [_copies(plain, role, number, rule, seed, flow) for role, number in wanted.items()]
    whole = pl.concat([plain, *parts])
    flow.made("augmentation", whole)
    flow.warnings += warnings_of(spec)
    return whole


def _wanted(images: pl.DataFrame, spec: CohortSpec, rule: AugmentationSpec) -> dict[str | None, int]:
    """Role (None: before the split) → images the class is to have there, copies included."""
    if rule.sides == "before-split":
        return {None: rule.to}
    roles = ["training"] if rule.sides == "training" else list(ROLES)
    shares = _shares(images.filter(pl.col("class_name") == rule.class_), spec)
    validation = round(rule.to * shares["validation"])
    tuning = round(rule.to * shares["tuning"])
    numbers = {"validation": validation, "tuning": tuning, "training": rule.to - validation - tuning}
    return {role: numbers[role] for role in roles}


def _shares(images: pl.DataFrame, spec: CohortSpec) -> dict[str, float]:
    """The sides' shares of the class: as the study states them, or as the source's own split gives them."""
    if spec.split in ("declared", "none", "tuning"):
        return {role: int((images["role"] == role).sum()) / max(1, images.height) for role in ROLES}
    validation = spec.validation_fraction
    return {"validation": validation, "tuning": (1 - validation) * spec.tuning_fraction}


def _copies(
    images: pl.DataFrame, role: str | None, number: int, rule: AugmentationSpec, seed: int, flow: SelectionCounts
) -> pl.DataFrame:
    parents = images.filter(pl.col("class_name") == rule.class_)
    if role is not None:
        parents = parents.filter(pl.col("role") == role)
    names = list(_names(parents["image_id"].to_list(), number, rule, seed))
    if not names:
        where = f"the {role} side" if role else "the class"
        flow.warnings.append(f"augmentation: no copies were made for {where}, which has {parents.height} images.")
    schema = {"image_id": pl.String, "parent_image_id": pl.String, "copy_number": pl.Int64}
    copies = pl.DataFrame(names, schema=schema, orient="row")
    rest = parents.drop("parent_image_id", "copy_number").rename({"image_id": "parent_image_id"})
    return copies.join(rest, on="parent_image_id", how="left", maintain_order="left").select(images.columns)


def _names(parents: list[str], number: int, rule: AugmentationSpec, seed: int) -> Iterator[Copy]:
    """As many copies as are lacking, in equal shares; who gets one more is drawn by content."""
    lacking = max(0, number - len(parents)) if parents else 0
    each, more = divmod(lacking, max(1, len(parents)))
    drawn = sorted(parents, key=lambda parent: draw(seed, "copies", parent))
    for place, parent in enumerate(drawn):
        for copy in range(1, each + 1 + (place < more)):
            yield Copy(copy_id(parent, copy, rule, seed), parent, copy)


def copy_id(parent: str, number: int, rule: AugmentationSpec, seed: int) -> str:
    """image_id of a copy: parent's content, number, seed and strengths; the same wherever it is made."""
    strengths = rule.model_dump(mode="json", exclude={"class_", "to", "sides"})
    return content_hash(["copy", RECIPE, seed, parent, number, strengths])


def make_copy(pixels: np.ndarray, parent: str, number: int, rule: AugmentationSpec, seed: int) -> np.ndarray:
    """The changed copy of `pixels`, (height, width) or (height, width, 3) unsigned 8/16-bit; same shape and dtype. A
    mask goes along, and what it masks stays out of the mean.

    One cubic resampling for all geometry; float32 between reading and one rounding at the end. OpenCV's samples lie
    on a grid of 1/32 pixel.
    """
    rng = np.random.Generator(np.random.Philox(draw(seed, "augmentation", parent, number)))
    x, y = _sampled_at(pixels.shape[0], pixels.shape[1], rule, rng)
    stored = np.ma.getdata(pixels)
    changed = cv2.remap(stored.astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    mask = None
    if isinstance(pixels, np.ma.MaskedArray):
        flat = np.ma.getmaskarray(pixels).astype(np.uint8)
        mask = cv2.remap(flat, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101).astype(bool)
        changed = np.ma.MaskedArray(changed, mask)
    contrast, brightness = 1 + rule.intensity * rng.uniform(-1, 1, 2)
    mean = np.float32(changed.mean())
    changed = (mean + (changed - mean) * np.float32(contrast)) * np.float32(brightness)
    copy = np.rint(np.clip(changed, 0, np.iinfo(stored.dtype).max)).astype(stored.dtype)
    return copy if mask is None else np.ma.MaskedArray(np.where(mask, 0, np.ma.getdata(copy)), mask)


def _sampled_at(
    height: int, width: int, rule: AugmentationSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """x and y in the parent of each pixel of the copy, both (height, width) float32."""
    turn, shear, scale, right, down = rng.uniform(-1, 1, 5)
    angle, lean, zoom = np.radians(rule.rotation_deg * turn), np.radians(rule.shear_deg * shear), 1 + rule.scale * scale
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1, np.tan(lean)], [0, 1]]) / zoom
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - np.float32((width - 1) / 2), y - np.float32((height - 1) / 2)
    moved = rule.shift * np.array([right * width, down * height])
    at_x = linear[0, 0] * x + linear[0, 1] * y + (width - 1) / 2 - moved[0]
    at_y = linear[1, 0] * x + linear[1, 1] * y + (height - 1) / 2 - moved[1]
    bent_x, bent_y = _elastic(height, width, rule.elastic, rng)
    return (at_x + bent_x).astype(np.float32), (at_y + bent_y).astype(np.float32)


def _elastic(height: int, width: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(2, height, width) displacements in pixels, the largest up to `strength` times the smaller side."""
    noise = rng.uniform(-1, 1, (2, _FIELD_PX, _FIELD_PX)).astype(np.float32)
    fields = [cv2.GaussianBlur(field, (0, 0), SMOOTHNESS * _FIELD_PX) for field in noise]
    most = strength * rng.uniform() * min(height, width)
    scaled = [field * np.float32(most / max(float(np.abs(field).max()), 1e-12)) for field in fields]
    return np.stack([cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) for field in scaled])
