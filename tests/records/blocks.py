"""Small blocks of rows with recognisable numbers, and a header for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from advassay.record_columns import unset_columns
from advassay.records import RunHeader, RunWriter, attack_rules, run_identity
from advassay.spec.attack_spec import Arm
from advassay.trajectory import TrajectoryRows

ARM = Arm(epsilons=(0.02, 0.04), step_sizes=(0.01, "epsilon/4"), steps=3)
POINTS = [(name, epsilon) for name in ("0.01", "epsilon/4") for epsilon in (0.02, 0.04)]
IMAGES = [f"image{i}" for i in range(6)]


def header(arm: Arm = ARM, **changes: object) -> RunHeader:
    run_id = run_identity(classifier="c0", arm=arm, cohort_identity="k0")
    fields = {
        "run_id": run_id, "cohort": "X-TB", "class_names": ("tb", "norm"), "channels": 1, "image_size_px": 8,
        "classifier": "c0", "cohort_identity": "k0", "arm": "A", "attack": attack_rules(arm), "steps": arm.steps,
    }  # fmt: skip
    return RunHeader(**(fields | changes))


def block(image_ids: list[str], points: list[tuple[str, float]] = POINTS, steps: int = 3) -> TrajectoryRows:
    """Rows whose logits follow from their key alone, so that any copy of a row is the same row."""
    keys = [(image, name, epsilon) for image in image_ids for name, epsilon in points]
    n = len(keys)
    place = np.array([int(image.removeprefix("image")) for image, _, _ in keys])
    epsilon = np.array([e for _, _, e in keys])
    wide = (place[:, None] + epsilon[:, None] * np.arange(steps + 1)).astype(np.float32)
    gradient_norm = wide.copy()
    gradient_norm[:, -1] = np.nan
    known = {
        "image_id": np.array([image for image, _, _ in keys], dtype=object),
        "step_size": np.array([name for _, name, _ in keys], dtype=object),
        "epsilon": epsilon, "label": place % 2,
        "logits": np.stack([wide, 3 - wide], axis=-1).astype(np.float32),
        "gradient_norm": gradient_norm, "boundary_share": wide / 10, "linf": wide / 100, "l2": wide,
        "scored_float32": wide > 1, "ssim": wide[:, 0],
    }  # fmt: skip
    return TrajectoryRows(**unset_columns(n, steps, 2) | known, flags={"saturated": place == 2})


def images(image_ids: list[str] = IMAGES) -> pl.DataFrame:
    places = [int(image.removeprefix("image")) for image in image_ids]
    return pl.DataFrame(
        {"image_id": image_ids, "label": [p % 2 for p in places], "patient_id": [f"p{p // 2}" for p in places]}
    )


def writer(folder: Path) -> RunWriter:
    opened = RunWriter(folder, header())
    opened.add_images(images())
    return opened
