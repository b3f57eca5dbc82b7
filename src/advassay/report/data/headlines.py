"""The answer about each cohort in numbers: how far its images must change, and what the network scores then.

Every number is one of the report's tables, or a function of analysis that they are made with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis import robust_accuracy_curve
from advassay.analysis.classifier_performance import auroc_interval
from advassay.records.run_header import RunHeader

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


@dataclass(frozen=True)
class Share:
    """A number in [0, 1] with its interval; null where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """Such as "0.87 [0.79, 0.92]"."""
        return f"{self.value_text} {self.interval}".rstrip()

    @property
    def value_text(self) -> str:
        return "unknown" if self.value is None else f"{self.value:.2f}"

    @property
    def interval(self) -> str:
        """In brackets; empty where there is none."""
        return "" if self.low is None or self.high is None else f"[{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Score:
    """One score of a network, without an attack and at the last iterate of the shown amplitude."""

    name: str
    clean: Share
    attacked: Share


@dataclass(frozen=True)
class Headline:
    """One cohort: the amplitude at which its network errs, and its scores without and with an attack."""

    cohort: str
    title: str
    """What is told apart, in the study's words; empty where it says none."""
    image_type: str
    positive: str
    """The class whose recall is the sensitivity."""
    epsilon50: dict[str, Any]
    """The cohort's row of the table epsilon50: the deciding arm at its step size."""
    success: Share
    """Share of the images classified correctly that the attack of the shown amplitude turns."""
    scores: tuple[Score, ...]
    """Accuracy, sensitivity, specificity and AUROC, as far as they are defined."""
    noise: tuple[int, int] | None
    """(misclassified, images) under random noise of the shown amplitude; null where it was not tried."""

    def score(self, name: str) -> Score | None:
        return next((score for score in self.scores if score.name == name), None)


def headlines(findings: Findings) -> tuple[Headline, ...]:
    """One for each attacked cohort, in the study's order."""
    recalls = _recalls(findings)
    return tuple(_headline(findings, header, recalls) for header in findings.headers())


def of_deciding_arm(findings: Findings, table: str, cohort: str) -> pl.DataFrame:
    """A cohort's rows of a table: the deciding arm at its step size."""
    return findings.of_main_arm(table).filter(
        pl.col("step_size") == findings.step_size(findings.main_arm), pl.col("cohort") == cohort
    )


def _headline(findings: Findings, header: RunHeader, recalls: pl.DataFrame) -> Headline:
    cohort, at = header.cohort, pl.col("epsilon") == findings.epsilon
    curve = findings.tables["success_by_epsilon"].filter(pl.col("cohort") == cohort, at)
    reached = curve.row(0, named=True) if len(curve) else {"rate": None, "low": None, "high": None}
    noise = header.controls.noise.get(f"{findings.epsilon:.12g}") if header.controls else None
    return Headline(
        cohort=cohort, title=header.cohort_title or "", image_type=header.image_type or "images",
        positive=header.positive, epsilon50=of_deciding_arm(findings, "epsilon50", cohort).row(0, named=True),
        success=Share(reached["rate"], reached["low"], reached["high"]),
        scores=tuple(_scores(findings, header, recalls)), noise=noise if noise and noise[1] else None,
    )  # fmt: skip


def _scores(findings: Findings, header: RunHeader, recalls: pl.DataFrame) -> Iterator[Score]:
    frame = of_deciding_arm(findings, "performance", header.cohort)
    clean, attacked = (
        frame.row(by_predicate=pl.col("epsilon") == epsilon, named=True) for epsilon in (0.0, findings.epsilon)
    )
    yield Score("accuracy", *(Share(row["accuracy"], row["low"], row["high"]) for row in (clean, attacked)))
    if len(header.class_names) == 2:
        others = [name for name in header.class_names if name != header.positive]
        for name, label in (("sensitivity", header.positive), ("specificity", others[0])):
            rows = recalls.filter(pl.col("cohort") == header.cohort, pl.col("class") == label, pl.col("n") > 0)
            if len(rows):
                ends = (rows.row(place, named=True) for place in (0, -1))
                yield Score(name, *(Share(row["rate"], row["low"], row["high"]) for row in ends))
    whole = findings.tables["cohorts"].filter(pl.col("cohort") == header.cohort)
    if len(whole) and whole["auroc"][0] is not None and attacked["auroc"] is not None:
        before = Share(*whole.select("auroc", "auroc_low", "auroc_high").row(0))
        yield Score("AUROC", before, Share(attacked["auroc"], *_attacked_area(findings, attacked)))


def _attacked_area(findings: Findings, row: dict[str, Any]) -> tuple[float, float]:
    """The interval of an AUROC over the attacked images, its classes counted in patients where they are known."""
    moved = findings.of_main_arm("transitions").filter(
        pl.col("cohort") == row["cohort"], pl.col("epsilon") == row["epsilon"]
    )
    images = moved.group_by("label", maintain_order=True).agg(pl.col("n").sum())["n"].to_list()
    share = 1.0 if row["patients"] is None else row["patients"] / row["n"]
    return auroc_interval(row["auroc"], [n * share for n in images], findings.level)


def _recalls(findings: Findings) -> pl.DataFrame:
    """Robust accuracy by cohort and class at the shown amplitude, iterate 0 (clean) to the last; two classes only."""
    curve = robust_accuracy_curve(
        findings.records, "step", by=("cohort", "class"), arm=findings.main_arm, epsilon=findings.epsilon,
        step_size=findings.step_size(findings.main_arm), level=findings.level,
    )  # fmt: skip
    return curve.frame.sort("step", maintain_order=True)
