"""One channel or three: decided by what the images show and what they are, and said where a cohort mixes both."""

from __future__ import annotations

import re

import polars as pl

from advassay.cohorts.flow import Flow
from advassay.specs import CohortSpec

_GREY_BY_NATURE = re.compile(r"(?i)x[-\s]?ray|radiogra|r(ö|oe)ntgen|mammogra|\b(cxr|cr|dx|ct|mri?)\b")
"""Image types whose detectors record one number a pixel. Colour in them comes from a scanner, a screen or a marker."""


def is_grey_by_nature(image_type: str | None) -> bool:
    """Whether images of this type have one channel whatever their files hold.

    >>> [is_grey_by_nature(text) for text in ("X-ray", "chest radiographs", "histology", None)]
    [True, True, False, False]
    """
    return bool(image_type and _GREY_BY_NATURE.search(image_type))


def choose_channels(images: pl.DataFrame, spec: CohortSpec, flow: Flow) -> int:
    """Channels of the prepared images: what the cohort asks for, 1 for X-rays and where all are grey, otherwise 3.

    `images`: class_name, image_type, coloured. Images in colour among grey ones are counted per class in a warning: a
    network may learn the colour instead of the disease.
    """
    coloured = int(images["coloured"].sum())
    types = [spec.image_type] if spec.image_type else images["image_type"].unique().to_list()
    grey_by_nature = bool(types) and all(is_grey_by_nature(name) for name in types)
    channels = spec.channels or (1 if grey_by_nature or not coloured else 3)
    if coloured and (coloured < images.height or (grey_by_nature and channels == 1)):
        flow.warnings.append(_mixture(images, coloured, spec, channels, grey_by_nature))
    return channels


def _mixture(images: pl.DataFrame, coloured: int, spec: CohortSpec, channels: int, grey_by_nature: bool) -> str:
    per_class = {
        name: (int(part["coloured"].sum()), part.height)
        for name in spec.classes
        if (part := images.filter(pl.col("class_name") == name)).height
    }
    counts = ", ".join(f"{name} {number:,} of {whole:,}" for name, (number, whole) in per_class.items())
    told = f"{coloured:,} of {images.height:,} images are in colour ({counts})"
    if channels == 3:
        return f"{told}, the others grey: a network may tell classes by colour. channels: 1 prepares all of them grey."
    if grey_by_nature and 2 * coloured > images.height:
        return (
            f"{told}, but X-rays are prepared grey. If these are no X-rays, correct image_type; channels: 3 keeps the "
            "colour."
        )
    return f"{told}: all are prepared grey (channels: 1)."
