"""The few attacked images that figures show, kept while the main arm runs."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from advassay.errors import AdvassayWarning, DamagedError
from advassay.identity import canonical_float
from advassay.records import Example, RunHeader, read_gallery, write_example
from advassay.records.gallery import INDEX, is_whole
from advassay.store_layout import Store
from advassay.study.gradient_counts import Point
from advassay.study.run_request import RunRequest
from advassay.study.store_locks import document_lock
from advassay.success import predicted, probabilities
from advassay.trajectory import TrajectoryRows

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort

Points = frozenset[Point]


class Gallery:
    """Images of one run to be kept: which ones, which are still missing, and how they are written."""

    def __init__(self, store: Store, header: RunHeader, request: RunRequest, cohort: PreparedCohort) -> None:
        self._store, self._folder = store, store.gallery
        self._header = header
        self._wanted = {image_id: request.points for image_id in sorted(request.gallery_ids)}
        self._cohort = cohort

    def wants(self, image_id: str) -> bool:
        """Is this image's attacked version to be kept?"""
        return image_id in self._wanted

    def missing(self) -> dict[str, Points]:
        """image_id → points whose attacked image is not kept yet."""
        if not self._wanted:
            return {}
        kept = {
            (e.image_id, e.step_size, canonical_float(e.epsilon))
            for e in self._kept()
            if e.run_id == self._header.run_id and is_whole(self._folder, e)
        }
        lacking = {i: frozenset(p for p in points if (i, *p) not in kept) for i, points in self._wanted.items()}
        return {image_id: points for image_id, points in lacking.items() if points}

    def _kept(self) -> list[Example]:
        """What the gallery lists; nothing, with a warning, where its list is damaged: it is then written anew."""
        try:
            return read_gallery(self._folder)
        except DamagedError:
            index = self._folder / INDEX
            with suppress(FileNotFoundError):  # another process has just done so
                index.rename(index.with_name(f"{INDEX}.damaged"))
            warnings.warn(
                f"gallery/{INDEX} could not be read; its images are attacked once more and kept anew.",
                AdvassayWarning,
                stacklevel=3,
            )
            return []

    def write(self, block: TrajectoryRows) -> None:
        """Keep the block's final images. Called before the block is stored: a kill in between only repeats this."""
        for key, adversarial in block.final_images.items():
            image_id, step_size, epsilon = key
            if not self.wants(image_id):
                continue
            row = np.flatnonzero(
                (block.image_id == image_id)
                & (block.step_size == step_size)
                & (block.epsilon == epsilon)
                & (block.restart == 0)
            )[0]
            clean = self._cohort.images([image_id])[0]
            with document_lock(self._store, "gallery"):
                write_example(self._folder, self._example(block, int(row)), clean, adversarial)

    def _example(self, block: TrajectoryRows, row: int) -> Example:
        clean, last = block.logits[row, 0], block.logits[row, -1]
        return Example(
            cohort=self._header.cohort,
            run_id=self._header.run_id,
            arm=self._header.arm,
            image_id=str(block.image_id[row]),
            label=int(block.label[row]),
            class_names=self._header.class_names,
            epsilon=canonical_float(float(block.epsilon[row])),
            step_size=str(block.step_size[row]),
            steps=self._header.steps,
            predicted=int(predicted(last)),
            clean_probabilities=_probabilities(clean),
            adversarial_probabilities=_probabilities(last),
            bits=self._header.bits,
        )


def _probabilities(logits: np.ndarray) -> tuple[float, ...] | None:
    """Softmax of the logits (class,); None where one is NaN, or where infinite ones have none."""
    with np.errstate(invalid="ignore"):
        found = probabilities(logits)
    return tuple(found.tolist()) if np.isfinite(found).all() else None
