"""Images of which nothing is left open, as the block of rows that leaves the engine, with their flags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from advassay.attacks.engine.failure_indicators import RowFacts, failure_flags
from advassay.attacks.engine.image_state import Grid, Records
from advassay.record_columns import columns_of, unset_columns
from advassay.trajectory import TrajectoryRows


def build_block(records: Records, images: np.ndarray, *, judged: bool) -> TrajectoryRows:
    """The begun rows of the images, image after image, of each as its grid lists them.

    `judged`: float32 has judged some iterates of a surrogate; its logits stand there.
    """
    of_row, of_image, rows = records.rows, records.images, records.begun_rows(images)
    image = of_row.image[rows]
    # Images numbered as given, because grids and ids are looked up by that number for all rows at once.
    number = np.empty(len(of_image.label), np.int64)
    number[images] = np.arange(len(images))
    grids = [records.grid[i] for i in images.tolist()]
    within = rows - of_image.first_row[image]
    logits, scored = records.values[rows, :, : records.classes], records.scored[rows]
    if judged:
        logits = np.where(scored[..., None], records.verified[rows], logits)
    # Any: in a call of keywords alone the type checker would match them with `flags` too.
    measured: dict[str, Any] = {name: records.values[rows, :, place] for name, place in records.place.items()}
    measured |= {name: getattr(of_row, name)[rows] for name in columns_of("last iterate")}
    measured |= unset_columns(len(rows), records.steps, records.classes, columns_of("search"))
    block = TrajectoryRows(
        image_id=np.array([records.image_id[i] for i in images.tolist()], dtype=str)[number[image]],
        step_size=_of_grids(grids, "step_size", number[image], within),
        epsilon=_of_grids(grids, "epsilon", number[image], within),
        restart=_of_grids(grids, "restart", number[image], within),
        label=of_image.label[image],
        target=of_image.target[image],
        logits=logits,
        scored_float32=scored,
        **measured,
        final_images=_kept_images(records, images, records.final),
        iterate_images=_kept_images(records, images, records.iterates),
    )
    facts = RowFacts(
        of_row.step[rows],
        of_row.retired[rows],
        of_row.nan_gradient[rows],
        # One number for each image and step size: rows of one group differ in ε and restart alone.
        number[image] * max(len(grid) for grid in grids) + _of_grids(grids, "rule", number[image], within),
    )
    return replace(block, flags=failure_flags(block, facts))


def _kept_images(
    records: Records, images: np.ndarray, kept: dict[int, np.ndarray]
) -> dict[tuple[str, str, float], np.ndarray]:
    """The pixels that are to be handed back, of restart 0; `kept`: by row."""
    return {
        (records.image_id[i], r.step_size, r.epsilon): kept[row]
        for i in (images.tolist() if kept else ())
        for row, r in enumerate(records.grid[i].rows, int(records.images.first_row[i]))
        if row in kept and r.restart == 0
    }


def _of_grids(grids: list[Grid], name: str, image: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Column `name` of each row's grid: of the grid of `image` at place `within`."""
    # Nearly always all images are attacked at the same points, and share one grid.
    if all(grid is grids[0] for grid in grids):
        found: np.ndarray = getattr(grids[0], name)[within]
        return found
    n = np.array([len(g) for g in grids])
    return np.concatenate([getattr(g, name) for g in grids])[(np.cumsum(n) - n)[image] + within]
