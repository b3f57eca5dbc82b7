"""How a study's questions will be judged: the `analysis:` section of study.yaml, fixed before the first attack."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from advassay.identity import content_hash
from advassay.spec.attack_spec import Amplitude, StepSize
from advassay.spec.base_model import Frozen
from advassay.success import Reading

DoseReading = Literal["monotone", "as recorded"]


TRANSFER_MARGIN, FEATURES_MARGIN = 0.05, 1.25
"""Margins of questions 6 and 7 where the plan states none: other studies' plans are as they were before these."""


class Margins(Frozen):
    """The smallest effects that count. Smaller ones are treated as none."""

    amplitude: float = Field(0.02, gt=0, lt=1)
    """Question 1: change of the success rate that still counts as flat, over the whole range of ε and between any two
    amplitudes (and so per doubling of ε)."""
    iterations: float = Field(0.02, gt=0, lt=1)
    """Question 3: change of the success rate over the second half of the iterations, and with twice as many, that still
    counts as level."""
    confidence: float = Field(1.25, gt=1)
    """Question 4: ratio of two ε50 that still counts as none."""
    training_size: float = Field(1.25, gt=1)
    """Question 5: ratio of ε50 over the whole studied range of training-set sizes that still counts as none."""
    transfer: float | None = Field(None, gt=0, lt=1, exclude_if=lambda value: value is None)
    """Question 6, in studies with `attack.transfer`: how much more often than random noise of the same size attacked
    images may mislead another network and still count as not transferring (difference of two rates); null = 0.05."""

    features: float | None = Field(None, gt=1, exclude_if=lambda value: value is None)
    """Question 7, in studies with `attack.features`: ratio of the distances in features and in pixels that still counts
    as none; null = 1.25."""

    @property
    def of_features(self) -> float:
        """`features`, or its default."""
        return FEATURES_MARGIN if self.features is None else self.features

    @property
    def of_transfer(self) -> float:
        """`transfer`, or its default."""
        return TRANSFER_MARGIN if self.transfer is None else self.transfer


class AnalysisPlan(Frozen):
    """Every choice the five verdicts depend on. None of them is made by looking at attacked images.

    >>> AnalysisPlan(arm="C").arm, AnalysisPlan().success
    ('C', 'last')
    """

    arm: str | None = None
    """Attack arm that decides; null = the first declared."""
    step_size: StepSize | None = None
    """Step size of that arm; null = the first declared."""
    success: Reading = "last"
    """Iterate reading. last: the last iterate alone decides. any: an earlier misclassified iterate counts too."""
    dose: DoseReading = "monotone"
    """Dose reading of ε50. monotone: misclassified at this or any smaller ε. as recorded: at this ε alone."""
    epsilon: Amplitude = 0.02
    """Amplitude of question 3; the attacked one nearest to it is taken."""
    confidence_threshold: float = Field(0.95, gt=0, lt=1)
    """Clean confidence that question 4 compares above and below."""
    image_types: tuple[str, str] = ("X-ray", "histology")
    """The types of question 2: the claim is that the second needs more amplitude than the first."""
    level: float = Field(0.95, gt=0.5, lt=1)
    """Confidence level of every interval."""
    margins: Margins = Margins()
    subgroups: tuple[str, ...] = ()
    """Columns of the cohorts' tables (sex, age band, site, …) whose groups are compared."""

    @field_validator("image_types")
    @classmethod
    def _two_types(cls, value: tuple[str, str]) -> tuple[str, str]:
        if value[0] == value[1]:
            raise ValueError(f"expected two different image types, got {value[0]!r} twice")
        return value

    @property
    def sha256(self) -> str:
        """16 hex digits that change when any choice does."""
        return content_hash(self.model_dump(mode="json"))
