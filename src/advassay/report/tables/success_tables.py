"""Tables of success: over ε, iterations, clean confidence, training size, arms and visibility; ε50; by slide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis import (
    epsilon50,
    iteration_plateau,
    iteration_survival,
    success_by_confidence,
    success_curve,
    unit_outcomes,
    visibility_curve,
)
from advassay.records.run_header import RunHeader
from advassay.report.data.stored_counts import nearest_available, shared_epsilons
from advassay.report.tables.column_labels import LEVEL, columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.report.text import captions
from advassay.spec.attack_components import UPDATE_RULES
from advassay.success import Reading

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

READINGS: tuple[Reading, ...] = ("last", "any")
TILED = 4
"""Images per unit (a patient's of one class) from which a cohort is judged by units as well."""


def _choices(findings: Findings) -> dict[str, Any]:
    """Reading and level of a curve."""
    return {"success": findings.plan.success, "level": findings.level}


def _arms(findings: Findings) -> list[tuple[str, str | None]]:
    """Every arm with the step size at which it is shown."""
    return [(arm, findings.in_force.step_size(arm)) for arm in findings.records.arms]


def _epsilons(findings: Findings, arm: str, step_size: str | None) -> list[float]:
    """Amplitudes that all cohorts of an arm share."""
    return shared_epsilons((h for h in findings.runs if h.primary and h.arm == arm), step_size)


def _near(findings: Findings) -> list[tuple[str, str | None, float]]:
    """Every arm with its step size and the amplitude nearest to the figures' that its cohorts share."""
    near = [
        (arm, size, nearest_available(findings.epsilon, _epsilons(findings, arm, size)))
        for arm, size in _arms(findings)
    ]
    return [(arm, size, at) for arm, size, at in near if at is not None]


def _joined(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One frame of those that have rows."""
    return pl.concat([frame for frame in frames if len(frame)] or [pl.DataFrame()], how="diagonal_relaxed")


def _in_main_arm(findings: Findings) -> dict[str, Any]:
    return {"arm": findings.main_arm, "step_size": findings.in_force.step_size()}


def by_epsilon(findings: Findings) -> pl.DataFrame:
    """Success against ε in the main arm, after all iterations."""
    return success_curve(findings.records, **_in_main_arm(findings), **_choices(findings)).frame


def by_iteration(findings: Findings) -> pl.DataFrame:
    """Success against iterations 1 … K at every ε that all cohorts of an arm share."""
    return _joined(
        success_curve(findings.records, "step", arm=arm, step_size=size, epsilon=e, **_choices(findings)).frame
        for arm, size in _arms(findings)
        for e in _epsilons(findings, arm, size)
    )


def by_confidence(findings: Findings) -> pl.DataFrame:
    """Success in bins of clean confidence in every arm, at the ε nearest to the figures'."""
    return _joined(
        success_by_confidence(findings.records, arm=arm, step_size=size, epsilon=e, **_choices(findings))
        for arm, size, e in _near(findings)
    )


def by_training_size(findings: Findings) -> pl.DataFrame:
    """One row per network of the cohorts that have more than one size; empty without a series."""
    if findings.series_epsilon is None:
        return pl.DataFrame()
    frame = success_curve(
        findings.records, "train_size", arm=findings.series_arm,
        step_size=findings.in_force.step_size(findings.series_arm), epsilon=findings.series_epsilon,
        **_choices(findings),
    ).frame  # fmt: skip
    return frame.filter(pl.col("train_size").n_unique().over("cohort") > 1)


def by_arm(findings: Findings) -> pl.DataFrame:
    """Every arm and step size over ε at the last iteration, for both readings of success (column `success`)."""
    return _joined(
        success_curve(
            findings.records, by=("cohort", "arm", "step_size"), success=reading, level=findings.level
        ).frame.with_columns(success=pl.lit(reading))
        for reading in READINGS
    )


def by_visibility(findings: Findings) -> pl.DataFrame:
    """Success against ε over clean contrast, every arm whose ε bounds each pixel; all cohorts of an arm in the same
    bins, of which `visibility` is the middle.
    """
    bounded = [
        (arm, size)
        for arm, size in _arms(findings)
        if all(_bounds_pixels(header) for header in findings.runs if header.primary and header.arm == arm)
    ]
    found = _joined(
        visibility_curve(findings.records, arm=arm, step_size=size, **_choices(findings)) for arm, size in bounded
    )
    if found.is_empty():
        return found
    return found.rename({"bin_low": "visibility_low", "bin_high": "visibility_high"}).with_columns(
        visibility=(pl.col("visibility_low") * pl.col("visibility_high")).sqrt()
    )


def _bounds_pixels(header: RunHeader) -> bool:
    """Whether ε is a bound of each pixel's change: not of an L2 length, nor of a gradient that is clipped."""
    rule = UPDATE_RULES.find(header.attack.get("update"))
    # Of a rule that is not registered here nobody knows what its ε bounds.
    return header.attack.get("norm") == "linf" and rule is not None and rule.bounds_the_image


def half_misclassified(findings: Findings) -> pl.DataFrame:
    """ε50 of every arm."""
    return _joined(
        epsilon50(findings.records, arm=arm, step_size=size, dose=findings.plan.dose, **_choices(findings))
        for arm, size in _arms(findings)
    )


def survival(findings: Findings) -> pl.DataFrame:
    """Survival over iterations of every arm, at the figures' amplitude or the nearest recorded one."""
    return _joined(
        iteration_survival(findings.records, arm=arm, step_size=size, epsilon=e, level=findings.level)
        for arm, size, e in _near(findings)
    )


def plateaus(findings: Findings) -> pl.DataFrame:
    """Where the rise over iterations ends, every arm, at the figures' amplitude or the nearest recorded one."""
    rules = {"margin": findings.plan.margins.iterations, "level": findings.level}
    return _joined(
        iteration_plateau(findings.records, arm=arm, step_size=size, epsilon=e, **rules)
        for arm, size, e in _near(findings)
    )


def by_unit(findings: Findings) -> pl.DataFrame:
    """Slides or patients decided from their images, main arm; only cohorts with several images a unit."""
    return unit_outcomes(findings.records, **_in_main_arm(findings), level=findings.level, fewest_tiles=TILED)


def at_figures_epsilon(frame: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """The rows at the figures' amplitude."""
    return frame.filter(epsilon=findings.epsilon)


def _epsilon50_caption(findings: Findings) -> str:
    notes = captions.describe_unreachable(findings)
    return (
        "ε₅₀: the amplitude at which half of the attackable images are misclassified, by arm. “<” and “>” stand where "
        "it lies outside the grid, “between” where only the amplitudes around it are known. Followed here: "
        f"{captions.in_every_arm(findings)}.{''.join(f' {note}' for note in notes)}"
    )


def _plateau_caption(findings: Findings) -> str:
    margin = 100 * findings.tables["iteration_plateau"]["margin"][0]
    return (
        f"First iteration after which the remaining rise is below {margin:g} points, with confidence. Remaining rise: "
        "over the last quarter of the iterations, with one-sided bounds of the intervals’ level, by both iterate "
        f"readings. Every arm is shown; {captions.in_main_arm(findings)}."
    )


TABLES.register(
    Table(
        "success_by_epsilon",
        about="figure 3a: success against ε, main arm (the one that decides the verdicts)",
        build=by_epsilon,
        says=("success", "level"),
    )
)
TABLES.register(
    Table(
        "success_by_iteration",
        about="figure 3b and the surface: success against iterations at every ε, every arm",
        build=by_iteration,
        says=("success", "level"),
    )
)
TABLES.register(
    Table(
        "success_by_confidence",
        about="figure 3c: success by clean confidence, every arm",
        build=by_confidence,
        says=("success", "level"),
    )
)
TABLES.register(
    Table(
        "success_by_training_size",
        about="figure 3d: success of every network of a training-size series",
        build=by_training_size,
        says=("success", "level"),
    )
)
TABLES.register(
    Table(
        "success_by_arm",
        about="success against ε of every arm and step size, at the last iterate and at any",
        build=by_arm,
        says=("success", "level"),
    )
)
TABLES.register(
    Table(
        "success_by_visibility",
        about="success against ε relative to the image's contrast, arms whose ε bounds each pixel",
        build=by_visibility,
        says=("success", "level"),
        of_figure=columns("cohort* arm visibility_low visibility_high rate low high n events patients", n="image × ε"),
    )
)
TABLES.register(
    Table(
        "epsilon50",
        about="the amplitude at which half of the attackable images are misclassified, every arm",
        build=half_misclassified,
        says=("success", "dose", "level"),
        printed=(
            Printed(
                columns(
                    "arm* cohort text text_255 method n patients", text=f"ε₅₀ with {LEVEL} interval",
                    text_255="in grey levels of 255",
                ),
                _epsilon50_caption, "results", 140, group="arm",
            ),
        ),
        of_figure=(),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "iteration_survival",
        about="share of attackable images that no iterate so far has misclassified, every arm",
        build=survival,
        says=("level",),
        of_figure=columns("cohort* arm epsilon step surviving low high events n median", events="misclassified so far"),
    )
)
TABLES.register(
    Table(
        "iteration_plateau",
        about="the iteration after which success rises no further, every arm",
        build=plateaus,
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* arm success epsilon text remaining remaining_low remaining_high n patients",
                    text="levels off at",
                ),
                _plateau_caption, "results", 150, group="cohort", companion=True,
                fold="Where success stops rising over iterations",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "units",
        about="slides or patients decided from their images: success, and how many images turn one",
        build=by_unit,
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* rule units tiles rate low high tiles_to_flip share_to_flip unturnable",
                    units="first decided right", tiles="images each", rate="turned",
                    tiles_to_flip="images that turn it", share_to_flip="share of its images",
                    unturnable="not turned by all",
                ),
                lambda findings: f"From images (tiles) to slides or patients, {captions.in_main_arm(findings)}, last "
                "iterate, at the amplitude of the figures (other ε: CSV). A unit is a patient’s images of one class. "
                "Turned: decided wrongly when every image is attacked. Images that turn it: median over units of the "
                "fewest adversarial images that turn the decision.",
                "results", 180, group="cohort", companion=True, rows=at_figures_epsilon,
                title="slides or patients decided from their images, at the figures' amplitude: by majority, by mean "
                "probability, by any positive image (max)",
            ),
        ),
    )
)  # fmt: skip
