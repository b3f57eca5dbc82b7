"""Rough time and disk of what a plan still lacks."""

from __future__ import annotations

from dataclasses import replace

from advassay.attack_spec import Precision
from advassay.specs import Study
from advassay.study.counting import gradient_steps, record_bytes
from advassay.study.place import Site
from advassay.study.planned import RANGE_FINDING, PlanRow
from advassay.study.throughput import CPU_PREPARED_PER_SECOND, Throughput, measure

PNG_SHARE = 0.7
"""Size of a lossless PNG against raw pixels: noise compresses badly."""


RUN_SECONDS = 2.0
"""What a run takes besides its gradients: the network is read, rewritten and examined (InceptionV3 on 2 cores)."""


class Estimator:
    """Puts seconds and bytes to plan rows; networks are measured once per image size and number of channels."""

    def __init__(self, study: Study, site: Site, timed: bool) -> None:
        self._study, self._site, self._timed = study, site, timed
        self._measured: dict[tuple[int, int], Throughput] = {}

    def estimated(self, row: PlanRow) -> PlanRow:
        """The row with `seconds` (null where the machine is not measured) and `bytes` of what is missing."""
        if not row.missing:
            return replace(row, seconds=0.0, bytes=0)
        stages = {
            "prepare": self._prepare,
            "train": self._train,
            "controls": self._controls,
            "doubling": self._in_few_numbers,
            RANGE_FINDING: self._in_few_numbers,
        }
        return stages.get(row.stage, self._attack)(row)

    def _prepare(self, row: PlanRow) -> PlanRow:
        size, channels = self._study.size_of(row.cohort), self._channels(row.cohort)
        depth = 1 if channels == 3 else 2
        seconds = row.missing / CPU_PREPARED_PER_SECOND * max(1.0, (size / 128) ** 2)
        stored = int(row.missing * size * size * channels * depth * PNG_SHARE)
        return replace(row, seconds=seconds if self._timed else None, bytes=stored)

    def _train(self, row: PlanRow) -> PlanRow:
        from advassay.training.network import checkpoint_bytes

        stored = checkpoint_bytes(
            self._study.training.architecture,
            channels=self._channels(row.cohort),
            classes=len(self._study.cohorts[row.cohort].classes),
            image_size_px=self._study.size_of(row.cohort),
        )
        speed = self._throughput(row.cohort).training_images_per_second if self._timed else None
        return replace(row, seconds=speed and row.missing / speed, bytes=stored)

    def _attack(self, row: PlanRow) -> PlanRow:
        arm = self._study.attack.arm(row.arm)
        classes = len(self._study.cohorts[row.cohort].classes)
        per_step = record_bytes(arm, classes) / max(1, gradient_steps(arm))
        seconds = self._attack_seconds(row, arm.precision) if self._timed else None
        return replace(row, seconds=seconds, bytes=int(row.missing * per_step))

    def _controls(self, row: PlanRow) -> PlanRow:
        """The cross-check runs on the unmodified network; what it finds is a few numbers in the header."""
        speed = self._throughput(row.cohort).gradients_per_second["exact"] if self._timed else None
        return replace(row, seconds=speed and row.missing / speed, bytes=0)

    def _in_few_numbers(self, row: PlanRow) -> PlanRow:
        """An attack like the arm's own, of which only counts are kept."""
        precision = self._study.attack.arm(row.arm).precision
        return replace(row, seconds=self._attack_seconds(row, precision) if self._timed else None, bytes=0)

    def _attack_seconds(self, row: PlanRow, precision: Precision) -> float:
        return RUN_SECONDS + row.missing / self._throughput(row.cohort).gradients_per_second[precision]

    def _channels(self, cohort: str) -> int:
        """What the cohort declares; else grey, unless it is made of colour phantoms or says histology."""
        spec = self._study.cohorts[cohort]
        if spec.channels is not None:
            return spec.channels
        source = self._study.sources[spec.source]
        colour = getattr(source, "phantom", None) == "histology" or (spec.image_type or "").lower() == "histology"
        return 3 if colour else 1

    def _throughput(self, cohort: str) -> Throughput:
        key = (self._study.size_of(cohort), self._channels(cohort))
        if key not in self._measured:
            self._measured[key] = measure(
                self._study.training.architecture,
                [self._study.attack.arm(name).precision for name in self._study.attack.arms],
                channels=key[1],
                classes=2,
                image_size_px=key[0],
                device=self._site.device,
            )
        return self._measured[key]
