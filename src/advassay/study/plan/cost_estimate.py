"""Rough time and disk of what a plan still lacks, from a few seconds of measured throughput."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from advassay.record_columns import bytes_per_iterate
from advassay.spec.attack_spec import Precision
from advassay.spec.study_spec import Study
from advassay.study.environment import RunEnvironment
from advassay.study.gradient_counts import gradient_steps, record_bytes
from advassay.study.jobs import RANGE_FINDING
from advassay.study.plan.plan_rows import PlanRow

if TYPE_CHECKING:
    from torch import Tensor

    from advassay.classifier import Classifier


BATCH = 8

TRAINING_COST = {"32-true": 1.5, "bf16-mixed": 1.0}
"""A training update per image against a gradient of the unmodified float32 network: weights need gradients too, and
Adam moves them; bfloat16 wins it back (the demo on 2 cores with AVX-512 bf16: 1.0, scoring included).
"""
CPU_PREPARED_PER_SECOND = 150.0
"""Images decoded, hashed, resized and encoded per second on one core, measured at 128 px."""


@dataclass(frozen=True)
class Throughput:
    """Of one network at one image size on this machine."""

    gradients_per_second: dict[Precision, float]
    """Images per second, forward and backward to the image, of the network as each precision rewrites it."""
    training_cost: float = TRAINING_COST["32-true"]

    @property
    def training_images_per_second(self) -> float:
        return self.gradients_per_second["exact"] / self.training_cost


def measure(
    architecture: str, precisions: Iterable[Precision], *, channels: int, classes: int, image_size_px: int, device: str
) -> Throughput:
    """Time a few gradients of the untrained network, unmodified and as `precisions` rewrite it for the attack.

    Raises TrainingError for a network that cannot be built.
    """
    import torch

    from advassay.attacks.float32_settings import full_float32
    from advassay.models.checkpoint import as_classifier
    from advassay.models.timm_networks import MEAN, STD, build_network
    from advassay.training.training_loop import fastest_precision

    network = build_network(architecture, channels=channels, classes=classes, image_size_px=image_size_px, seed=0)
    names = tuple(map(str, range(classes)))
    classifier = as_classifier(network, MEAN, STD, channels, names).to(device)
    image = torch.rand(channels, image_size_px, image_size_px, device=device)
    wanted = dict.fromkeys(("exact", *precisions))
    with classifier.attack_mode(), full_float32():
        speeds = {precision: _speed(classifier, precision, image) for precision in wanted}
    return Throughput(speeds, TRAINING_COST[fastest_precision(torch.device(device))])


def _speed(classifier: Classifier, precision: Precision, image: Tensor) -> float:
    """Images per second."""
    from advassay.attacks.batch_tuning import attacked, execution_config, images_per_second
    from advassay.attacks.surrogate.build import build_surrogate

    rewrites = execution_config(BATCH, precision=precision, device=str(image.device)).rewrites
    return images_per_second(attacked(build_surrogate(classifier, image[None], rewrites)), image, BATCH)


FORWARD_COST = 0.5
"""A forward pass against a gradient, which is one forward and about one backward to the image."""
ROW_BYTES = 100
"""Of a record row besides its iterates."""
PNG_SHARE = 0.7
"""Size of a lossless PNG against raw pixels: noise compresses badly."""


RUN_SECONDS = 2.0
"""What a run takes besides its gradients: the network is read, rewritten and examined (InceptionV3 on 2 cores)."""


class Estimator:
    """Puts seconds and bytes to plan rows; networks are measured once per image size and number of channels."""

    def __init__(self, study: Study, site: RunEnvironment, timed: bool) -> None:
        self._study, self._site, self._timed = study, site, timed
        self._measured: dict[tuple[str, int, int], Throughput] = {}

    def estimated(self, row: PlanRow) -> PlanRow:
        """The row with `seconds` (null where the machine is not measured) and `bytes` of what is missing."""
        if not row.missing:
            return replace(row, seconds=0.0, bytes=0)
        stages = {
            "prepare": self._prepare,
            "train": self._train,
            "controls": self._controls,
            "doubling": self._in_few_numbers,
            "transfer": self._in_few_numbers,
            "features": self._in_few_numbers,
            "scoring": self._scoring,
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
        from advassay.models.timm_networks import checkpoint_bytes

        stored = checkpoint_bytes(
            row.architecture or self._study.training.architecture,
            channels=self._channels(row.cohort),
            classes=len(self._study.cohorts[row.cohort].classes),
            image_size_px=self._study.size_of(row.cohort),
        )
        speed = self._throughput(row).training_images_per_second if self._timed else None
        return replace(row, seconds=speed and row.missing / speed, bytes=stored)

    def _attack(self, row: PlanRow) -> PlanRow:
        arm = self._study.attack.arm(row.arm)
        classes = len(self._study.cohorts[row.cohort].classes)
        per_step = record_bytes(arm, classes) / max(1, gradient_steps(arm))
        seconds = self._attack_seconds(row, arm.precision) if self._timed else None
        return replace(row, seconds=seconds, bytes=int(row.missing * per_step))

    def _controls(self, row: PlanRow) -> PlanRow:
        """The cross-check runs on the unmodified network; what it finds is a few numbers in the header."""
        speed = self._throughput(row).gradients_per_second["exact"] if self._timed else None
        return replace(row, seconds=speed and row.missing / speed, bytes=0)

    def _scoring(self, row: PlanRow) -> PlanRow:
        """Three images a record row are scored by the unmodified network: clean, noise and attacked."""
        speed = self._throughput(row).gradients_per_second["exact"] / FORWARD_COST if self._timed else None
        classes = len(self._study.cohorts[row.cohort].classes)
        stored = int(row.missing / 2 * (3 * bytes_per_iterate(classes) + ROW_BYTES))
        return replace(row, seconds=speed and row.missing / speed, bytes=stored)

    def _in_few_numbers(self, row: PlanRow) -> PlanRow:
        """An attack like the arm's own, of which only counts are kept."""
        precision = self._study.attack.arm(row.arm).precision
        return replace(row, seconds=self._attack_seconds(row, precision) if self._timed else None, bytes=0)

    def _attack_seconds(self, row: PlanRow, precision: Precision) -> float:
        return RUN_SECONDS + row.missing / self._throughput(row).gradients_per_second[precision]

    def _channels(self, cohort: str) -> int:
        """What the cohort declares; else grey, unless it is made of colour phantoms or says histology."""
        spec = self._study.cohorts[cohort]
        if spec.channels is not None:
            return spec.channels
        source = self._study.sources[spec.source]
        colour = getattr(source, "phantom", None) == "histology" or (spec.image_type or "").lower() == "histology"
        return 3 if colour else 1

    def _throughput(self, row: PlanRow) -> Throughput:
        architecture = row.architecture or self._study.training.architecture
        key = (architecture, self._study.size_of(row.cohort), self._channels(row.cohort))
        if key not in self._measured:
            self._measured[key] = measure(
                architecture,
                [self._study.attack.arm(name).precision for name in self._study.attack.arms],
                channels=key[2],
                classes=2,
                image_size_px=key[1],
                device=self._site.device,
            )
        return self._measured[key]
