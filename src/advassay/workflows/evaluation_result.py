"""What `evaluate` gives back: the numbers of a store with their intervals, as the page shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import polars as pl

from advassay.analysis import worst_case_by_attack, worst_case_robust_accuracy
from advassay.errors import SpecError
from advassay.identity import canonical_float
from advassay.report.data.first_screen import FirstScreen
from advassay.spec.attack_spec import parse_amplitude
from advassay.workflows.study_result import StudyResult

Quantity = Literal["robust_accuracy", "attack_success_rate", "accuracy", "epsilon50"]


@dataclass(frozen=True)
class Estimate:
    """One number with its interval.

    value, low and high are null where the data do not determine them (an ε50 outside the attacked amplitudes): `text`
    then says what is known.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Images that it rests on."""
    text: str
    """With its unit, as the page prints it."""
    level: float = 0.95

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class EvaluationResult(StudyResult):
    """An evaluated model. Every number is read from the tables of the store's report; nothing is computed apart.

    >>> EvaluationResult("runs/nowhere")
    EvaluationResult(runs/nowhere: no store)
    """

    notes: tuple[str, ...] = field(default=(), repr=False)
    """What a reader of the numbers should know, in sentences."""

    @cached_property
    def answer(self) -> FirstScreen:
        """The first sentences, as the page and the command line print them."""
        found = self.findings.first_screen
        assert found is not None  # a store of one cohort and one model
        return found

    @property
    def epsilon50(self) -> Estimate:
        """The amplitude at which half of the images that the model gets right are misclassified: a fraction of [0, 1];
        its text is in grey levels of 255."""
        row = self._of_deciding_arm("epsilon50").row(0, named=True)
        text = f"{row['text_255']} grey levels of 255"
        return Estimate(row["estimate"], row["low"], row["high"], row["n"], text, self.findings.level)

    @property
    def accuracy(self) -> Estimate:
        """Share of the images that the model gets right before any attack, of those that are attacked."""
        return self._rate("performance", 0.0, "accuracy")

    def robust_accuracy(self, epsilon: float | str) -> Estimate:
        """Share of the images still classified correctly after an attack of this amplitude: an upper bound, since a
        stronger attack may leave fewer. `epsilon`: 0.02 or "2/255". Raises SpecError for one that was not attacked.
        """
        return self._rate("performance", _amplitude(epsilon), "accuracy")

    def attack_success_rate(self, epsilon: float | str) -> Estimate:
        """Share of the images that the model gets right which it misclassifies after the attack: a lower bound.

        Raises SpecError for an amplitude that was not attacked.
        """
        return self._rate("success_by_epsilon", _amplitude(epsilon), "rate")

    def worst_case(self, epsilon: float | str) -> Estimate:
        """Robust accuracy under the worst of all attacks that were run, image by image: an upper bound too, and never
        above any single attack's. Raises SpecError for an amplitude that was not attacked.
        """
        norm = self.findings.headers()[0].attack.get("norm")
        frame = worst_case_robust_accuracy(self.findings.records, level=self.findings.level)
        return self._row_at(frame.filter(pl.col("norm") == norm), _amplitude(epsilon), "rate")

    def worst_case_by_attack(self) -> pl.DataFrame:
        """Which attack found what: one row per amplitude and arm that attacked at it or below.

        Columns: epsilon, epsilon_255 (grey levels), arm, update, gradients (whether it follows them), n (images that it
        attacked and that the model gets right), found (of these misclassified at ε or below), alone (by no other arm),
        beyond_gradients (by no arm that follows gradients), queries (mean forward passes of an image there, searches
        alone).
        """
        norm = self.findings.headers()[0].attack.get("norm")
        frame = worst_case_by_attack(self.findings.records).filter(pl.col("norm") == norm)
        wanted = ["epsilon", "epsilon_255", "arm", "update", "gradients", "n", "found", "alone",
                  "beyond_gradients", "queries"]  # fmt: skip
        return frame.with_columns(epsilon_255=pl.col("epsilon") * 255).select(wanted)

    def quantity(self, name: Quantity, epsilon: float | None = None) -> Estimate:
        """The estimate of a quantity by its name: what --require compares. Robust accuracy is that under the worst of
        all attacks that were run. Raises SpecError for accuracy where the images came without labels.
        """
        if name == "epsilon50":
            return self.epsilon50
        if name == "accuracy":
            evaluation = self.answer.evaluation
            if evaluation is not None and evaluation.labels == "model":
                raise SpecError(
                    "accuracy: expected images with labels, got none: the model's own decisions stand for them.",
                    "Give a folder with a subfolder per class, or a table with a column label.",
                )
            return self.accuracy
        if epsilon is None:
            raise SpecError(f"{name}: expected an amplitude, got none.", f"Write {name}@2/255.")
        return self.worst_case(epsilon) if name == "robust_accuracy" else self.attack_success_rate(epsilon)

    @property
    def _files_beside_report(self) -> bool:
        """With the preset quick the page alone is written, in a fraction of the time."""
        return self.answer.evaluation is None or self.answer.evaluation.preset != "quick"

    def _summary(self) -> str:
        return self.answer.sentences[0]

    def _of_deciding_arm(self, table: str) -> pl.DataFrame:
        frame = self.findings.of_main_arm(table)
        size = self.findings.step_size(self.findings.main_arm)
        return frame.filter(pl.col("step_size") == size) if "step_size" in frame.columns else frame

    def _rate(self, table: str, epsilon: float, column: str) -> Estimate:
        return self._row_at(self._of_deciding_arm(table), epsilon, column)

    def _row_at(self, frame: pl.DataFrame, epsilon: float, column: str) -> Estimate:
        wanted = canonical_float(epsilon)
        found = [row for row in frame.iter_rows(named=True) if canonical_float(row["epsilon"]) == wanted]
        if not found:
            grid = ", ".join(grey_levels(e) for e in sorted(set(frame["epsilon"])) if e > 0)
            raise SpecError(
                f"epsilon: expected one of the attacked amplitudes, {grid}, got {grey_levels(epsilon)}.",
                'Ask for it beforehand: evaluate(..., require="robust_accuracy@2/255 >= 0") attacks at 2/255 too.',
            )
        row: dict[str, Any] = found[0]
        value, low, high = row[column], row["low"], row["high"]
        text = "no image counts" if value is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        return Estimate(value, low, high, row["n"], text, self.findings.level)


def grey_levels(epsilon: float) -> str:
    """An amplitude as grey levels of 255.

    >>> grey_levels(2 / 255), grey_levels(0.001)
    ('2/255', '0.255/255')
    """
    return f"{epsilon * 255:.3g}/255"


def _amplitude(value: float | str) -> float:
    """Raises SpecError for what is no amplitude."""
    try:
        return parse_amplitude(value)
    except ValueError as error:
        raise SpecError(
            f"epsilon: {error}.", "Give a fraction of the [0, 1] range: 0.02, or grey levels: 2/255."
        ) from None
