"""Do intervals of rates hold the truth 95 times in 100? Simulated curves with a known truth.

    python -m benchmarks.coverage                  # everything: about 15 minutes on one idle core
    python -m benchmarks.coverage --quick          # the same code in a minute; its figures mean little

One cohort at a time, a curve of seven success rates. The success of a patient's images at a rate p
is drawn with a probability ~ Beta(p(1 − ρ)/ρ, (1 − p)(1 − ρ)/ρ), so that p is the true rate and ρ exactly the
intraclass correlation; one uniform number a patient and one an image make the curve rise image by image, as success
over ε does. The five verdicts have a benchmark of their own: benchmarks/verdicts.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from advassay.analysis.intervals import BOOTSTRAP, Counts, intervals

RATES = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
INSIDE = (0.93, 0.97)
"""Coverage that is asked for with ≥ 40 patients, rates 0.1–0.9 and ICC ≤ 0.4; elsewhere at least the lower."""
BATCH = 250
"""Simulations at once, under one seed of the bootstrap and one draw of the patients' sizes."""


@dataclass(frozen=True)
class Scenario:
    """One cohort: its patients, the images of each (all the same number, or spread as 1 + geometric), their ICC."""

    patients: int
    images: int
    icc: float
    spread: bool = False

    @property
    def inside(self) -> bool:
        """Whether coverage of 93–97 % is asked for (at rates from 0.1 to 0.9)."""
        return self.patients >= 40 and self.icc <= 0.4

    @property
    def name(self) -> str:
        many = f"1 … about {self.images}" if self.spread else str(self.images)
        return f"{self.patients} patients × {many} images, ICC {self.icc:g}"


def scenarios() -> list[Scenario]:
    """Inside the region first, then few patients and high ICC."""
    inside = [
        Scenario(patients, images, icc)
        for patients in (40, 100, 400)
        for images in (2, 5, 25)
        for icc in (0.0, 0.1, 0.2, 0.4)
    ]
    inside += [Scenario(patients, 1, 0.0) for patients in (40, 100, 400)]
    inside += [Scenario(patients, 5, icc, spread=True) for patients in (40, 100, 400) for icc in (0.1, 0.4)]
    outside = [Scenario(patients, images, 0.2) for patients in (10, 19, 25) for images in (2, 10)]
    return inside + outside + [Scenario(patients, 5, 0.8) for patients in (15, 40, 100)]


def simulated(scenario: Scenario, rng: np.random.Generator, simulations: int) -> Counts:
    """Counts of (simulation × rate, patient)."""
    sizes = np.full(scenario.patients, scenario.images)
    if scenario.spread:
        sizes = rng.geometric(1 / scenario.images, scenario.patients)
    patient = np.repeat(np.arange(scenario.patients), sizes)
    shared, own = rng.random((simulations, scenario.patients)), rng.random((simulations, len(patient)))
    starts = np.r_[0, np.cumsum(sizes)[:-1]]
    events = np.stack([_fallen(rate, scenario.icc, shared, own, patient, starts) for rate in RATES], axis=1)
    points = simulations * len(RATES)
    images = np.broadcast_to(sizes.astype(np.float64), (points, scenario.patients))
    return Counts(events.reshape(points, scenario.patients).astype(np.float64), images)


def _fallen(
    rate: float, icc: float, shared: np.ndarray, own: np.ndarray, patient: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """(simulation, patient) events at one rate."""
    chance = np.full_like(shared, rate)
    if icc > 0:
        quantiles = stats.beta.ppf(_GRID, rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc)
        chance = quantiles[(shared * len(_GRID)).astype(np.int64)]
    return np.add.reduceat(own < chance[:, patient], starts, axis=1, dtype=np.int32)


_GRID = (np.arange(20_000) + 0.5) / 20_000
"""The beta quantiles are tabulated: fine enough that the mean is the rate to 1e-4."""


@dataclass(frozen=True)
class Coverage:
    """Of one scenario at one rate."""

    scenario: Scenario
    rate: float
    held: float
    """Share of the intervals that hold the truth."""
    width: float
    bootstrapped: float
    """Share of the intervals that the patient bootstrap made."""
    simulations: int

    @property
    def inside(self) -> bool:
        return self.scenario.inside and 0.1 <= self.rate <= 0.9

    @property
    def passes(self) -> bool:
        return INSIDE[0] <= self.held and (self.held <= INSIDE[1] or not self.inside)


def covered(scenario: Scenario, simulations: int, seed: int) -> Iterator[Coverage]:
    """The scenario at every rate."""
    rng = np.random.default_rng([seed, scenario.patients, scenario.images, int(100 * scenario.icc), scenario.spread])
    held, width, boot = np.zeros((3, len(RATES)))
    for start in range(0, simulations, BATCH):
        number = min(BATCH, simulations - start)
        curve = np.repeat(np.arange(number), len(RATES))
        low, high, method = intervals(simulated(scenario, rng, number), seed=start, curve=curve)
        truth = np.tile(RATES, number)
        held += _by_rate((low <= truth) & (truth <= high))
        width += _by_rate(high - low)
        boot += _by_rate(np.array(method) == BOOTSTRAP)
    for k, rate in enumerate(RATES):
        yield Coverage(scenario, float(rate), *(float(x[k] / simulations) for x in (held, width, boot)), simulations)


def _by_rate(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, len(RATES)).sum(axis=0)


def interval_table(found: list[Coverage]) -> str:
    """Markdown: one row per scenario, coverage in percent at every rate; what misses its criterion in bold."""
    head = ["scenario", *(f"{rate:g}" for rate in RATES)]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * len(RATES)]
    for scenario in dict.fromkeys(one.scenario for one in found):
        cells = [one for one in found if one.scenario == scenario]
        shown = [f"{100 * one.held:.1f}" if one.passes else f"**{100 * one.held:.1f}**" for one in cells]
        lines.append(f"| {scenario.name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def summary(found: list[Coverage]) -> str:
    """What the criteria say, in three lines."""
    inside, outside = [c for c in found if c.inside], [c for c in found if not c.inside]
    return (
        f"Inside (≥ 40 patients, rates 0.1–0.9, ICC ≤ 0.4): {len(inside)} scenarios, coverage "
        f"{100 * min(c.held for c in inside):.1f}–{100 * max(c.held for c in inside):.1f} %, asked for 93–97 %.\n"
        f"Outside: {len(outside)} scenarios, lowest {100 * min(c.held for c in outside):.1f} %, asked for ≥ 93 %.\n"
        f"Missed: {sum(not c.passes for c in found)} of {len(found)}; {found[0].simulations:,} simulations each."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few simulations: to see that it works")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.perf_counter()
    found = [c for s in scenarios() for c in covered(s, 200 if asked.quick else 2_000, asked.seed)]
    print(interval_table(found) + "\n\n" + summary(found), flush=True)
    print(f"{time.perf_counter() - started:.0f} s in all.", file=sys.stderr)


if __name__ == "__main__":
    main()
