"""Are the five verdicts true? Simulated studies with a known truth on the scale of each question's own effect.

    python -m benchmarks.verdicts --quick                   # 3 minutes: to see that it works
    python -m benchmarks.verdicts                           # ≥ 2,000 studies a null scenario, 500 others; about an hour
    python -m benchmarks.verdicts --old ../advassay-0.1.0   # beside the rules of version 0.1.0 (a checkout of it)

Every batch is written to --keep as it is done, and a later call goes on from there. A verdict is false when it says
what is not so; undecided is never false. Opposite: the effect is said to go the other way than it does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import pickle
import re
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import stats

from advassay.analysis.conclusions import confidence, questions
from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.dose_response.epsilon50 import epsilon50_of
from advassay.analysis.dose_response.thresholds import Thresholds
from benchmarks.verdict_grids import control_scenarios, grid_scenarios, range_scenarios
from benchmarks.verdict_scenarios import (
    GRID,
    MIDDLE,
    NORMAL,
    SPREAD,
    CohortTruth,
    Scenario,
    Shape,
    cohorts_of,
    late_for,
    network,
    rise_truth,
    slope_truth,
    study,
    thresholds_of,
)

BATCH = 50
NULLS, OTHERS = 2_000, 500
LIMITS = {"false": 0.065, "opposite": 0.005, "coverage": 0.93, "coverage of few": 0.92}
FEW = 4
"""Cohorts up to which the lower coverage is asked for."""
NEVER = Shape("normal", 0.1)
SHAPES = (
    NORMAL, Shape("skewed"), Shape("skewed left"), Shape("heavy tails"), Shape("normal", 0.03), NEVER,
    Shape("skewed", 0.1),
)  # fmt: skip
MISSPECIFIED = (Shape("skewed"), Shape("heavy tails"), NEVER, Shape("skewed left", 0.1))
"""Shapes that null scenarios are repeated with: the fitted curve is log-logistic."""
RAGGED = ((0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02), (0.001, 0.002, 0.004, 0.008), (0.0007, 0.0025, 0.009))


def amplitude_scenarios() -> Iterator[Scenario]:
    def flat(rng: np.random.Generator, *, k: int, n: int, tau: float, mean: float, centre: float = 0.5) -> Evidence:
        cohorts = [CohortTruth(f"X{i}", images=n, centre=centre) for i in range(k)]
        return study([network(rng, replace(c, falls=float(mean + tau * rng.standard_normal()))) for c in cohorts])

    def rising(rng: np.random.Generator, *, k: int, n: int, shape: Shape, grids: Any = (GRID,)) -> Evidence:
        cohorts = cohorts_of({"X-ray": k}, rng, images=n, shape=shape)
        return study([network(rng, replace(c, grid=grids[i % len(grids)])) for i, c in enumerate(cohorts)])

    for k, n in ((1, 100), (1, 4000), (4, 12), (8, 100)):
        make = partial(flat, k=k, n=n, tau=0.0, mean=0.0)
        yield Scenario(f"flat, k = {k}, n = {n}", 1, make, 0.0, frozenset({"contradicted"}), "supported", True, k)
    for k in (4, 8):
        make = partial(flat, k=k, n=100, tau=0.03, mean=0.0)
        yield Scenario(
            f"cohorts differ about none, k = {k}", 1, make, 0.0, frozenset({"contradicted"}), "supported", True, k
        )
    yield Scenario(
        "flat near the ceiling, k = 4", 1, partial(flat, k=4, n=100, tau=0.0, mean=0.0, centre=0.93), 0.0,
        frozenset({"contradicted"}), "supported", True, 4,
    )  # fmt: skip
    for k, n in ((1, 80), (8, 14), (4, 100)):
        make = partial(flat, k=k, n=n, tau=0.02 if k > 1 else 0.0, mean=-0.06)  # one cohort: its own truth
        truth = -0.06
        yield Scenario(f"falls, k = {k}, n = {n}", 1, make, truth, frozenset({"contradicted"}), "supported", False, k)
    for shape in SHAPES:
        make = partial(rising, k=4, n=100, shape=shape)
        truth = slope_truth(shape, GRID, 0.3)
        name = f"rises, {shape.name}, never {shape.never:g}, k = 4"
        yield Scenario(name, 1, make, truth, frozenset({"supported"}), "contradicted", False, 4)


def image_type_scenarios() -> Iterator[Scenario]:
    def pair(
        rng: np.random.Generator, *, k: int, n: int, tau: float, ratio: float, shapes: tuple[Shape, Shape],
        grids: Any = (GRID,), extra: str = "", per_patient: int = 1, largest: int = 0,
        sizes: tuple[int, ...] = (),
    ) -> Evidence:  # fmt: skip
        cohorts = cohorts_of(
            {"X-ray": k, "histology": k}, rng, tau=tau, ratio=ratio, images=n, images_per_patient=per_patient,
            largest_patient=largest,
        )  # fmt: skip
        if sizes:
            cohorts = [replace(c, images=sizes[i % k]) for i, c in enumerate(cohorts)]
        of_type = {"X-ray": shapes[0], "histology": shapes[1]}
        made = [
            replace(
                c, shape=of_type[c.image_type], grid=grids[i % len(grids)],
                location=c.location - of_type[c.image_type].median,  # the truth is the ratio of medians
            )
            for i, c in enumerate(cohorts)
        ]  # fmt: skip
        if extra == "ceiling":
            made.append(replace(made[0], name="X9", location=MIDDLE - 6))
        if extra == "shared":
            made += [replace(c, name=c.name + "b", archive=c.name) for c in made[:1] + made[-1:]]
        return study(_networks(rng, made))

    def short_grids(rng: np.random.Generator) -> Evidence:
        """Two small cohorts of the second type whose largest ε is near their ε50."""
        grid, middle = GRID[:4], float(np.log(GRID[3])) - 0.3
        cohorts = [
            CohortTruth(f"X{i}", images=60, location=middle + 0.15 * rng.standard_normal()) for i in range(6)
        ] + [
            CohortTruth(f"H{i}", "histology", images=6, location=middle + 0.3 * rng.standard_normal(), grid=grid)
            for i in range(2)
        ]
        return study([network(rng, c) for c in cohorts])

    def _scenario(name: str, ratio: float, k: int, **options: Any) -> Scenario:
        settings = {"n": 100, "tau": 0.3, "shapes": (NORMAL, NORMAL)} | options
        right = {"supported"} if ratio > 1 else {"contradicted"} if ratio < 1 else set()
        opposite = "contradicted" if ratio > 1 else "supported" if ratio < 1 else ""
        make = partial(pair, k=k, ratio=ratio, **settings)
        return Scenario(name, 2, make, ratio, frozenset(right), opposite, ratio == 1, 2 * k)

    for k in (2, 4):
        yield _scenario(f"equal, {k} + {k}", 1.0, k)
    for n in (12, 4000):
        yield _scenario(f"equal, 4 + 4, n = {n}", 1.0, 4, n=n)
    yield _scenario("equal, 4 + 4, τ = 0.5", 1.0, 4, tau=0.5)
    for shape in MISSPECIFIED:
        yield _scenario(f"equal, 4 + 4, {shape.name}, never {shape.never:g}", 1.0, 4, shapes=(shape, shape))
    yield _scenario("equal, 4 + 4, skewed against skewed left", 1.0, 4, shapes=(SHAPES[1], SHAPES[2]))
    yield _scenario("equal, 4 + 4, never 0.1 against 0", 1.0, 4, shapes=(NEVER, NORMAL))
    yield _scenario("equal, 4 + 4, ragged grids", 1.0, 4, grids=RAGGED)
    yield _scenario("equal, 4 + 4, one cohort at its ceiling", 1.0, 4, extra="ceiling")
    yield _scenario("equal, 4 + 4, shared images", 1.0, 4, extra="shared")
    yield _scenario("equal, 4 + 4, 10 images a patient", 1.0, 4, n=200, per_patient=10)
    for sizes in ((1000, 8, 8, 8), (4000, 12, 12, 12), (1000, 100, 30, 10)):
        yield _scenario(f"equal, 4 + 4, of {_told(sizes)} images", 1.0, 4, sizes=sizes)
        yield _scenario(f"ratio 4, 4 + 4, of {_told(sizes)} images", 4.0, 4, sizes=sizes)
    yield _scenario("equal, 4 + 4, one patient with 60 of 100 images", 1.0, 4, largest=60)
    yield Scenario(
        "equal, 6 + 2, two of 6 images beside their largest ε", 2, short_grids, 1.0, frozenset(), "", True, 8
    )
    for ratio in (4.0, 0.25):
        yield _scenario(f"ratio {ratio:g}, 4 + 4", ratio, 4)
        yield _scenario(f"ratio {ratio:g}, 4 + 4, never 0.1", ratio, 4, shapes=(NEVER, NEVER))
        yield _scenario(f"ratio {ratio:g}, 4 + 4, skewed", ratio, 4, shapes=(SHAPES[1], SHAPES[1]))
        yield _scenario(f"ratio {ratio:g}, 4 + 4, ragged grids", ratio, 4, grids=RAGGED)
        yield _scenario(f"ratio {ratio:g}, 4 + 4, one cohort at its ceiling", ratio, 4, extra="ceiling")
        yield _scenario(f"ratio {ratio:g}, 2 + 2", ratio, 2)
    yield _scenario("ratio 4, 4 + 4, shared images", 4.0, 4, extra="shared")


def _told(sizes: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"


def _networks(rng: np.random.Generator, cohorts: list[CohortTruth]) -> list[Any]:
    """One network a cohort; cohorts of one archive have the same images and so, but for luck, the same thresholds."""
    base: dict[str, np.ndarray] = {}
    packs = []
    for cohort in cohorts:
        archive = cohort.archive or cohort.name
        if archive not in base:
            base[archive] = thresholds_of(rng, cohort)
        packs.append(network(rng, cohort, base=base[archive] + 0.1 * rng.standard_normal(cohort.images)))
    return packs


def iteration_scenarios() -> Iterator[Scenario]:
    def late(rng: np.random.Generator, *, k: int, n: int, late: float, shape: Shape) -> Evidence:
        cohorts = cohorts_of({"X-ray": k}, rng, tau=0.3 if k > 1 else 0.0, images=n, shape=shape, late=late)
        return study([network(rng, c) for c in cohorts])

    def scenario(name: str, rise: float, k: int, n: int, shape: Shape = NORMAL) -> Scenario:
        tau = 0.3 if k > 1 else 0.0
        shift = late_for(rise, shape, tau) if rise else 0.0
        truth = rise_truth(shape, shift, tau)
        right = {"contradicted"} if rise > 0.02 else {"supported"} if rise < 0.02 else set()
        opposite = "supported" if rise > 0.02 else "contradicted" if rise < 0.02 else ""
        make = partial(late, k=k, n=n, late=shift, shape=shape)
        return Scenario(name, 3, make, truth, frozenset(right), opposite, rise == 0.02, k)

    for k, n in ((1, 100), (4, 100), (8, 400)):
        yield scenario(f"rise at the margin, k = {k}, n = {n}", 0.02, k, n)
    yield scenario("rise at the margin, skewed, k = 4, n = 100", 0.02, 4, 100, Shape("skewed"))
    for k, n in ((1, 400), (4, 100), (8, 100)):
        yield scenario(f"still rising (10 points), k = {k}, n = {n}", 0.10, k, n)
        yield scenario(f"level, k = {k}, n = {n}", 0.0, k, n)


def confidence_scenarios() -> Iterator[Scenario]:
    def shifted(
        rng: np.random.Generator, *, k: int, n: int, shift: float, spread: float, shape: Shape, per_patient: int = 1
    ) -> Evidence:
        cohorts = cohorts_of({"X-ray": k}, rng, images=n, shape=shape, images_per_patient=per_patient)
        return study(
            [network(rng, replace(c, confidence_shift=float(shift + spread * rng.standard_normal()))) for c in cohorts]
        )

    def scenario(name: str, ratio: float, k: int, n: int, spread: float = 0.0, **more: Any) -> Scenario:
        settings = {"shape": NORMAL} | more
        make = partial(shifted, k=k, n=n, shift=float(np.log(ratio)), spread=spread, **settings)
        right = {"supported"} if ratio > 1 else {"contradicted"}
        opposite = "" if ratio == 1 else "contradicted" if ratio > 1 else "supported"
        return Scenario(name, 4, make, ratio, frozenset(right), opposite, ratio in (1.0, 1.25), k)

    for k, n in ((1, 300), (4, 30), (4, 300)):
        yield scenario(f"no difference, k = {k}, n = {n}", 1.0, k, n)
    for shape in MISSPECIFIED:
        yield scenario(f"no difference, {shape.name}, never {shape.never:g}, k = 4, n = 200", 1.0, 4, 200, shape=shape)
    for k in (4, 8):
        yield scenario(f"cohorts differ about none, k = {k}", 1.0, k, 200, spread=0.3)
    yield scenario("no difference, 10 images a patient, k = 4", 1.0, 4, 300, per_patient=10)
    yield scenario("ratio at the margin, k = 4, n = 300", 1.25, 4, 300)
    for ratio in (2.0, 0.5):
        for k, n in ((1, 300), (4, 100), (4, 300)):
            yield scenario(f"ratio {ratio:g}, k = {k}, n = {n}", ratio, k, n)
        yield scenario(f"ratio {ratio:g}, never 0.1, k = 4, n = 200", ratio, 4, 200, shape=NEVER)
        yield scenario(f"ratio {ratio:g}, cohorts differ, k = 4", ratio, 4, 200, spread=0.3)
    yield from _uneven_confidence_scenarios()


def _uneven_confidence_scenarios() -> Iterator[Scenario]:
    """Cohorts of other sizes, at the ceiling, and confident images with another asymptote or spread."""

    def uneven(
        rng: np.random.Generator, *, sizes: tuple[int, ...], spread: float, ceiling: int = 0, **common: Any
    ) -> Evidence:
        cohorts = cohorts_of({"X-ray": len(sizes)}, rng, **common)
        cohorts = [
            replace(c, images=n, confidence_shift=float(spread * rng.standard_normal()))
            for c, n in zip(cohorts, sizes, strict=True)
        ]
        cohorts += [CohortTruth(f"C{i}", location=MIDDLE - 9) for i in range(ceiling)]
        return study([network(rng, c) for c in cohorts])

    for sizes in ((1000, 20, 20, 20), (1000, *[20] * 7), (1000, 100, 30, 30)):
        make = partial(uneven, sizes=sizes, spread=0.3)
        name = f"cohorts differ about none, of {_told(sizes)} images"
        yield Scenario(name, 4, make, 1.0, frozenset({"contradicted"}), "", True, len(sizes))
    for ceiling in (3, 7):
        # One cohort is a draw of a population whose mean is none: only more of them can tell.
        make = partial(uneven, sizes=(300,) * 2, spread=0.3, ceiling=ceiling)
        name = f"cohorts differ about none, two beside {ceiling} at the ceiling"
        yield Scenario(name, 4, make, 1.0, frozenset({"contradicted"}), "", True, 2)
    for never in (0.2, 0.4, 0.65):
        ratio = float(np.exp(SPREAD * stats.norm.ppf(0.5 / (1 - never)))) if never < 0.5 else float("inf")
        make = partial(uneven, sizes=(300,) * 4, spread=0.0, confident_never=never)
        name = f"{100 * never:g}% of the confident images never fall, k = 4, n = 300"
        yield Scenario(name, 4, make, ratio, frozenset({"supported"}), "contradicted", False, 4)
    for spread in (0.4, 2.0):
        make = partial(uneven, sizes=(600,) * 4, spread=0.0, confident_spread=spread)
        name = f"same ε50, spread of the confident images times {spread:g}, k = 4, n = 600"
        yield Scenario(name, 4, make, 1.0, frozenset({"contradicted"}), "", True, 4)
    make = partial(uneven, sizes=(100,) * 4, spread=0.0, largest_patient=60)
    name = "no difference, one patient with 60 of 100 images, k = 4"
    yield Scenario(name, 4, make, 1.0, frozenset({"contradicted"}), "", True, 4)


def training_size_scenarios() -> Iterator[Scenario]:
    sizes, seeds = (100, 200, 400, 800), (0, 1, 2)
    doublings = float(np.log2(sizes[-1] / sizes[0]))

    def series(rng: np.random.Generator, *, n: int, ratio: float, sd: float, image_sd: float, shape: Shape) -> Evidence:
        cohort = CohortTruth("H-BR", "histology", images=n, shape=shape)
        base = thresholds_of(rng, cohort)
        by_image = image_sd * rng.standard_normal(n)  # what a doubling does to an image of its own
        packs = []
        for size in sizes:
            for seed in seeds:
                x = np.log2(size / sizes[0])
                shift = np.log(ratio) * x / doublings + sd * rng.standard_normal()
                own = base + 0.2 * rng.standard_normal(n) + by_image * x / doublings
                main = size == sizes[-1] and seed == 0
                packs.append(network(rng, cohort, shift=shift, size=size, seed=seed, primary=main, base=own))
        return study(packs)

    def scenario(name: str, ratio: float, n: int, sd: float, image_sd: float = 0.0, shape: Shape = NORMAL) -> Scenario:
        make = partial(series, n=n, ratio=ratio, sd=sd, image_sd=image_sd, shape=shape)
        right = {"supported"} if ratio < 1.25 else {"contradicted"} if ratio > 1.25 else set()
        opposite = "contradicted" if ratio < 1.25 else "supported" if ratio > 1.25 else ""
        return Scenario(name, 5, make, ratio, frozenset(right), opposite, ratio in (1.0, 1.25), 12)

    for n, sd in ((30, 0.05), (400, 0.05), (400, 0.2)):
        yield scenario(f"no dependence, n = {n}, network sd {sd:g}", 1.0, n, sd)
        yield scenario(f"ratio at the margin, n = {n}, network sd {sd:g}", 1.25, n, sd)
    yield scenario("no dependence, images differ in it, n = 100", 1.0, 100, 0.05, 0.5)
    yield scenario("ratio at the margin, images differ in it, n = 100", 1.25, 100, 0.05, 0.5)
    for n, sd in ((100, 0.05), (400, 0.05), (400, 0.2)):
        yield scenario(f"ratio 2, n = {n}, network sd {sd:g}", 2.0, n, sd)


def scenarios() -> list[Scenario]:
    """All of them, question by question."""
    makers = (
        amplitude_scenarios, image_type_scenarios, iteration_scenarios, confidence_scenarios, training_size_scenarios,
        grid_scenarios, control_scenarios, range_scenarios,
    )  # fmt: skip
    return [scenario for maker in makers for scenario in maker()]


_FOUND: list[Scenario] = []


def _scenario(index: int) -> Scenario:
    """The list is made once a process: truths are integrated numerically."""
    if not _FOUND:
        _FOUND.extend(scenarios())
    return _FOUND[index]


def _generator(scenario: Scenario, seed: int, batch: int, study: int) -> np.random.Generator:
    """Draws of one study: of its scenario's name, not of its place in the list."""
    return np.random.default_rng([seed, zlib.crc32(_key(scenario).encode()), batch, study])


def run_batch(index: int, batch: int, seed: int) -> list[list[Any]]:
    """[verdict, estimate, low, high] of each study of a batch.

    Question 4's second sentence (is the change sharp?) takes half of its time and no part in its verdict: left out.
    """
    scenario = _scenario(index)
    rows = []
    with patch.object(confidence, "_sharp", lambda evidence: ()):
        for i in range(BATCH):
            rng = _generator(scenario, seed, batch, i)
            found = questions()[scenario.question - 1].judge(scenario.make(rng))
            rows.append([found.verdict, found.estimate, found.low, found.high])
    return rows


@dataclass(frozen=True)
class Result:
    """What the verdicts of one scenario were."""

    scenario: Scenario
    rows: list[list[Any]]

    def share(self, verdicts: frozenset[str] | set[str]) -> float:
        return float(np.mean([row[0] in verdicts for row in self.rows]))

    @property
    def false(self) -> float:
        return self.share({"supported", "contradicted"} - self.scenario.right)

    @property
    def opposite(self) -> float:
        return self.share({self.scenario.opposite}) if self.scenario.opposite else float("nan")

    def _scaled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """estimate, low, high, truth; ratios as logarithms, open ends infinite."""
        ratio = self.scenario.question in (2, 4, 5)
        e, low, high = (np.array([np.nan if r[i] is None else r[i] for r in self.rows], float) for i in (1, 2, 3))
        if ratio:
            with np.errstate(divide="ignore"):
                e, low, high = np.log(e), np.log(np.nan_to_num(low)), np.log(np.where(np.isnan(high), np.inf, high))
        else:
            low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        return e, low, high, float(np.log(self.scenario.effect) if ratio else self.scenario.effect)

    @property
    def coverage(self) -> float:
        """Of printed intervals (closed on a side at least); NaN where the scenario has no one true effect."""
        _, low, high, truth = self._scaled()
        if truth != truth:
            return float("nan")
        printed = np.isfinite(low) | np.isfinite(high)
        return float(((low <= truth) & (truth <= high))[printed].mean()) if printed.any() else float("nan")

    @property
    def width(self) -> float:
        """Median width over that of an oracle who knows how the estimate varies (2 · 1.96 · its standard deviation)."""
        e, low, high, _ = self._scaled()
        closed = np.isfinite(low) & np.isfinite(high) & np.isfinite(e)
        spread = float(np.std(e[closed])) if closed.sum() > 2 else 0.0
        return float(np.median((high - low)[closed]) / (2 * 1.96 * spread)) if spread > 0 else float("nan")

    def passes(self) -> bool:
        s, n = self.scenario, len(self.rows)
        slack = 2 * np.sqrt(0.05 * 0.95 / n)  # what luck alone adds to a true 5% or takes from a true 95%
        least = LIMITS["coverage of few"] if s.k <= FEW else LIMITS["coverage"]
        covered = not self.coverage < least - (slack if n < NULLS else 0)
        fine = self.opposite != self.opposite or self.opposite <= LIMITS["opposite"] + (slack if s.null else 0)
        return covered and self.false <= LIMITS["false"] and (fine or s.null)


def table(results: list[Result], old: dict[str, Result]) -> str:
    """Markdown: one row a scenario."""
    lines = [
        "| question | scenario | studies | true verdict | undecided | false | opposite | coverage | width / oracle "
        "| 0.1.0: true | false | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        s = r.scenario
        before = old.get(s.name + str(s.question))
        was = f"{100 * before.share(s.right):.0f} | {100 * before.false:.1f}" if before else " | "
        opposite = "" if r.opposite != r.opposite else f"{100 * r.opposite:.1f}"
        lines.append(
            f"| {s.question} | {s.name}{' (null)' if s.null else ''} | {len(r.rows):,} | {100 * r.share(s.right):.0f} "
            f"| {100 * r.share({'undecided'}):.0f} | {100 * r.false:.1f} | {opposite} | {100 * r.coverage:.1f} | "
            f"{r.width:.2f} | {was} | {'' if r.passes() else '✗'} |"
        )
    nulls = [r for r in results if r.scenario.null]
    pooled = sum(r.false * len(r.rows) for r in nulls) / max(sum(len(r.rows) for r in nulls), 1)
    opposite = [r for r in results if not r.scenario.null and r.scenario.opposite]
    wrong = sum(r.opposite * len(r.rows) for r in opposite) / max(sum(len(r.rows) for r in opposite), 1)
    lines += [
        "",
        f"Null scenarios: {len(nulls)}, false verdicts {100 * pooled:.2f} % pooled, at most "
        f"{100 * max((r.false for r in nulls), default=0):.1f} % in one. Opposite verdicts where there is an effect: "
        f"{100 * wrong:.2f} %. Lowest coverage "
        f"{100 * min(r.coverage for r in results if r.coverage == r.coverage):.1f} %.",
    ]
    return "\n".join(lines)


def epsilon50_table(studies: int, seed: int = 0) -> str:
    """Coverage of ε50's printed interval and of the curve's own, by number of images and shape of the thresholds."""
    lines = [
        "| thresholds | never | n | coverage printed | curve printed | median width (factor) |",
        "|---|---|---|---|---|---|",
    ]
    for shape in (*SHAPES, Shape("skewed left", 0.1)):
        for n in (30, 100, 300, 1_000, 4_000, 20_000):
            truth = float(np.exp(MIDDLE + 0.2 + shape.median))
            held, curve, widths = [], [], []
            for i in range(studies):
                rng = np.random.default_rng([seed, n, i])
                logs = MIDDLE + 0.2 + shape.draw(rng, n)
                category = np.searchsorted(np.log(GRID), logs)
                found = epsilon50_of(Thresholds(np.array(GRID), category, np.arange(n), np.ones(n, bool)))
                low, high = found.interval()
                held.append(low <= truth <= high)
                curve.append(found.trusted)
                widths.append(high / low if low > 0 else np.inf)
            lines.append(
                f"| {shape.name} | {shape.never:g} | {n:,} | {100 * np.mean(held):.1f} "
                f"| {100 * np.mean(curve):.0f} % | {np.median(widths):.2f} |"
            )
    return "\n".join(lines)


def old_rules(checkout: Path, indices: list[int], studies: int, seed: int) -> dict[str, Result]:
    """The verdicts of version 0.1.0 on the same studies, by a process of its own."""
    found = {}
    for index in indices:
        scenario = _scenario(index)
        made = [scenario.make(_generator(scenario, seed, i // BATCH, i % BATCH)).networks for i in range(studies)]
        script = Path(__file__).with_name("verdicts_of_0_1.py")
        answer = subprocess.run(
            [sys.executable, str(script), str(scenario.question)], input=pickle.dumps(made), capture_output=True,
            env={"PYTHONPATH": str(checkout / "src"), "PATH": "/usr/bin:/bin"}, check=True,
        )  # fmt: skip
        found[scenario.name + str(scenario.question)] = Result(
            scenario, [[v, None, None, None] for v in json.loads(answer.stdout)]
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few studies: to see that it works")
    parser.add_argument("--question", type=int, choices=range(1, 6), help="one question alone")
    parser.add_argument("--only", default="", help="scenarios whose name matches this regular expression")
    parser.add_argument("--studies", type=int, help="studies a scenario, in whole batches of 50")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path("runs/bench/verdicts.jsonl"),
        help="finished batches (.gz: compressed)",
    )
    parser.add_argument("--finished", action="store_true", help="run nothing: tables of the finished batches")
    parser.add_argument("--old", type=Path, help="a checkout of version 0.1.0 to compare with")
    parser.add_argument("--old-studies", type=int, default=200, help="studies a scenario for that comparison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip-epsilon50", action="store_true")
    asked = parser.parse_args()
    started = time.perf_counter()
    every = [
        i for i, s in enumerate(scenarios()) if asked.question in (None, s.question) and re.search(asked.only, s.name)
    ]
    usual = {i: NULLS if _scenario(i).null else OTHERS for i in every}
    wanted = {i: asked.studies or (BATCH if asked.quick else usual[i]) for i in every}
    rows = _batches(wanted, asked)
    results = [Result(_scenario(i), rows[i]) for i in every if rows[i]]
    known = [i for i in every if not _scenario(i).null] if asked.old else []
    old = old_rules(asked.old, known, 20 if asked.quick else asked.old_studies, asked.seed) if asked.old else {}
    print(table(results, old), flush=True)
    if not asked.skip_epsilon50:
        print("\n" + epsilon50_table(50 if asked.quick else 500), flush=True)
    print(f"{time.perf_counter() - started:.0f} s.", file=sys.stderr)


def _batches(wanted: dict[int, int], asked: argparse.Namespace) -> dict[int, list[list[Any]]]:
    """Run what is missing; every finished batch is a line of `asked.keep`."""
    keep = asked.keep.with_suffix(".quick.jsonl") if asked.quick else asked.keep
    keep.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if keep.suffix == ".gz" else open
    done: dict[tuple[str, int], list[list[Any]]] = {}
    if keep.exists():
        with opened(keep, "rt", encoding="utf-8") as lines:
            entries = [json.loads(line) for line in lines]
        done = {(entry["scenario"], entry["batch"]): entry["rows"] for entry in entries if entry["seed"] == asked.seed}
    if asked.finished:
        return {
            i: [row for b in range(n // BATCH) for row in done.get((_key(_scenario(i)), b), [])]
            for i, n in wanted.items()
        }
    # First batches of all scenarios first, so that a stopped run has looked at every one.
    tasks = sorted(
        ((i, b) for i, n in wanted.items() for b in range(n // BATCH) if (_key(_scenario(i)), b) not in done),
        key=lambda task: (task[1], task[0]),
    )
    with ProcessPoolExecutor(asked.processes) as pool, opened(keep, "at", encoding="utf-8") as out:
        for (i, b), rows in zip(tasks, pool.map(_task, [(i, b, asked.seed) for i, b in tasks]), strict=True):
            done[(_key(_scenario(i)), b)] = rows
            kept = [[verdict, *(_rounded(value) for value in values)] for verdict, *values in rows]
            out.write(json.dumps({"scenario": _key(_scenario(i)), "batch": b, "seed": asked.seed, "rows": kept}) + "\n")
            out.flush()
    gathered: dict[int, list[list[Any]]] = defaultdict(list)
    for i, n in wanted.items():
        for b in range(n // BATCH):
            gathered[i].extend(done[(_key(_scenario(i)), b)])
    return gathered


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.7g}")


def _task(task: tuple[int, int, int]) -> list[list[Any]]:
    return run_batch(*task)


def _key(scenario: Scenario) -> str:
    return f"{scenario.question}: {scenario.name}"


if __name__ == "__main__":
    main()
