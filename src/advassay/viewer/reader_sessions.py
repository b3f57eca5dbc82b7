"""A blind reader study: a clean image and the same one attacked side by side; which one was changed?

Order, sides and amplitudes of a reader follow from the design's seed and the reader's pseudonym, so that a session goes
on where it ended. While a study is shown the server has no other page: nothing tells a reader which side is which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from advassay.errors import SpecError, StoreError
from advassay.identity import draw, draw_each
from advassay.records.reader_answers import (
    DesignImage,
    ReaderStudyDesign,
    append_answer,
    checked_reader,
    read_answers,
    read_design,
    write_design,
)
from advassay.report.figures.image_figures import spaced
from advassay.viewer.case_selection import deciding_runs
from advassay.viewer.opened_store import NotInStoreError, OpenedStore
from advassay.viewer.recomputation import Recomputer, Task

Side = Literal["left", "right"]
AMPLITUDES = 6
"""Amplitudes of each cohort that are shown, at most: an even choice of the grid."""


@dataclass(frozen=True)
class Trial:
    """One pair as one reader sees it. `number`: place in the reader's order, from 1."""

    number: int
    image: DesignImage
    epsilon: float
    attacked: Side

    @property
    def key(self) -> tuple[str, str, str, float]:
        return self.image.run_id, self.image.image_id, self.image.step_size, self.epsilon


def make_design(opened: OpenedStore, per_cohort: int, seed: int) -> ReaderStudyDesign:
    """Images of each cohort that may be shown, drawn by the seed among those that the deciding arm attacked at every ε
    and the network classifies correctly without an attack. Raises SpecError where there are none."""
    images = []
    for run, pack in deciding_runs(opened):
        header = run.header
        if not opened.may_show(header.cohort):
            continue
        counted = pack.image_ids[pack.attackable.all(axis=0)]
        order = draw_each(seed, "reader study", header.cohort, ids=list(counted))
        epsilons = tuple(spaced(pack.epsilons.tolist(), float(pack.epsilons[0]), AMPLITUDES))
        images += [
            DesignImage(
                run_id=header.run_id, cohort=header.cohort, image_id=str(counted[i]), step_size=pack.step_size,
                epsilons=epsilons,
            )
            for i in np.argsort(order, kind="stable")[:per_cohort]
        ]  # fmt: skip
    if not images:
        raise SpecError("--reader-study: there is no image that may be shown.", "Give --show-all-images.")
    return ReaderStudyDesign(seed=seed, images=tuple(images))


def trials_of(design: ReaderStudyDesign, reader: str) -> list[Trial]:
    """All pairs in the order of one reader. Each cohort's amplitudes take turns over its images, from one that differs
    between readers, so that a reader sees each as often as the others."""
    order = sorted(design.images, key=lambda one: draw(design.seed, "order", reader, one.cohort, one.image_id))
    seen: dict[str, int] = {}
    found = []
    for number, one in enumerate(order, 1):
        turn = seen.setdefault(one.cohort, draw(design.seed, "amplitude", reader, one.cohort) % len(one.epsilons))
        seen[one.cohort] += 1
        left = draw(design.seed, "side", reader, one.cohort, one.image_id) % 2 == 0
        epsilon = one.epsilons[turn % len(one.epsilons)]
        found.append(Trial(number, one, epsilon, "left" if left else "right"))
    return found


class ReaderStudy:
    """The study of one store; several readers may be at work at a time."""

    def __init__(
        self, opened: OpenedStore, recomputer: Recomputer, *, per_cohort: int, seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """The store's design, or a new one, which is written. Raises SpecError, StoreError."""
        self._opened, self._recomputer, self._clock = opened, recomputer, clock
        self.design = read_design(opened.store) or write_design(opened.store, make_design(opened, per_cohort, seed))
        held = {header.run_id for header in opened.records.headers}
        gone = [one for one in self.design.images if one.run_id not in held or not opened.may_show(one.cohort)]
        if gone:
            raise StoreError(
                f"reader_study: {len(gone)} of {len(self.design.images)} images of the design are of runs that the "
                "store no longer holds, or may not be shown.",
                "Move the folder reader_study away to begin a new study.",
            )
        self._refused: set[tuple[str, str, str, float]] = set()
        self._begun: dict[tuple[str, int], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def next(self, reader: str) -> dict[str, Any]:
        """The pair that a reader is to judge now: {state: done | computing | ready, …}; nothing in it tells the side.

        Pairs whose attacked image is not proved are left out and counted.
        """
        trials = trials_of(self.design, checked_reader(reader))
        answered = self._answered(reader)
        while True:
            open_ = [one for one in trials if self._name(one) not in answered and one.key not in self._refused]
            told = {
                "answered": len(answered), "of": len(trials),
                "left_out": sum(one.key in self._refused and self._name(one) not in answered for one in trials),
            }  # fmt: skip
            if not open_:
                return told | {"state": "done"}
            found = self._recomputer.request(*open_[0].key)
            if isinstance(found, Task):
                return told | {"state": "computing"}
            if found.iterates is not None:
                break
            self._refused.add(open_[0].key)
        for one in open_[1:2]:  # made while this one is looked at
            self._recomputer.request(*one.key)
        now = open_[0]
        header = self._opened.run(now.image.run_id).header
        with self._lock:
            self._begun.setdefault((reader, now.number), (self._clock(), datetime.now(UTC).isoformat("T", "seconds")))
        return told | {
            "state": "ready", "trial": now.number, "cohort": header.cohort_title or header.cohort,
            "classes": list(header.class_names), "bits": header.bits, "side": header.image_size_px,
        }  # fmt: skip

    def pixels(self, reader: str, trial: int, side: Side) -> np.ndarray:
        """float32 (channel, height, width) of one side. Raises NotInStoreError unless the pair is the reader's now."""
        now = self._current(reader, trial)
        found = self._recomputer.wait(*now.key)
        if found.iterates is None:
            raise NotInStoreError("trial: the image is not proved.", "Ask for the next one.")
        shown: np.ndarray = found.iterates[-1 if side == now.attacked else 0]
        return shown

    def answer(self, reader: str, trial: int, changed: Side, diagnosis: str) -> None:
        """Keep an answer. Raises NotInStoreError for another pair than the reader's now, SpecError for another class,
        StoreError for a second answer."""
        now = self._current(reader, trial)
        header = self._opened.run(now.image.run_id).header
        if diagnosis not in header.class_names:
            raise SpecError("diagnosis: expected one of the cohort's classes, got another text.", "Choose one.")
        images = self._opened.run(now.image.run_id).images
        label = header.class_names[int(images.filter(image_id=now.image.image_id)["label"][0])]
        with self._lock:
            begun, when = self._begun[reader, trial]
        proof = self._recomputer.wait(*now.key).proof
        append_answer(
            self._opened.store,
            {
                "reader": reader, "trial": trial, "cohort": now.image.cohort, "run_id": now.image.run_id,
                "image_id": now.image.image_id, "step_size": now.image.step_size, "epsilon": now.epsilon,
                "step": header.steps, "attacked_side": now.attacked, "chosen_side": changed,
                "right": changed == now.attacked, "label": label, "diagnosis": diagnosis,
                "diagnosis_right": diagnosis == label, "proof": proof.status, "begun": when,
                "seconds": round(self._clock() - begun, 2),
            },
        )  # fmt: skip

    def _current(self, reader: str, trial: int) -> Trial:
        trials = trials_of(self.design, checked_reader(reader))
        with self._lock:
            begun = (reader, trial) in self._begun
        if not begun or self._name(trials[trial - 1]) in self._answered(reader):
            raise NotInStoreError("trial: it is not the one that the reader is to judge.", "Ask for the next one.")
        return trials[trial - 1]

    def _answered(self, reader: str) -> set[tuple[str, str]]:
        return set(read_answers(self._opened.store).filter(reader=reader).select("run_id", "image_id").iter_rows())

    @staticmethod
    def _name(trial: Trial) -> tuple[str, str]:
        return trial.image.run_id, trial.image.image_id
