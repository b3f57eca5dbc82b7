"""More simulated studies for the benchmark of the verdicts: humps, ceilings, grids, controls and ranges of sizes.

What these have in common is that a verdict with the right numbers could still say what is not so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.outcome_arrays import OutcomeArrays
from benchmarks.verdict_scenarios import (
    GRID,
    MIDDLE,
    NORMAL,
    STEPS,
    CohortTruth,
    Scenario,
    Shape,
    cohorts_of,
    network,
    slope_truth,
    study,
    thresholds_of,
    with_control,
)

DOUBLINGS = tuple(0.0005 * 2.0**i for i in range(6))
NINE = tuple(0.00005 * 2.0**i for i in range(10))
FIVE = (0.0005, 0.001, 0.002, 0.004, 0.008)
MIDDLES = (0.001, 0.0025, 0.005)
"""Amplitudes at which enough images fall, and enough stand, for 2% of all to be gained or lost."""
ANY = float("nan")
"""In place of a true effect where the printed one depends on the verdict: coverage is not counted."""


def grid_scenarios() -> Iterator[Scenario]:
    """Question 1: success that rises and falls again, that has no room, that rises slowly, on grids that differ."""

    def rates(rng: np.random.Generator, *, of: tuple[float, ...], k: int, n: int) -> Evidence:
        cohorts = [CohortTruth(f"X{i}", images=n, grid=DOUBLINGS[: len(of)]) for i in range(k)]
        packs = []
        for pack in (network(rng, cohort) for cohort in cohorts):
            now = rng.random((len(of), n)) < np.array(of)[:, None]
            last = np.repeat(now[:, None], STEPS + 1, axis=1) & pack.attackable[:, None]
            last[:, 0] = False
            packs.append(replace(pack, last=last, any=np.maximum.accumulate(last, axis=1)))
        return study(packs)

    def thresholds(rng: np.random.Generator, *, location: float, n: int) -> Evidence:
        cohorts = cohorts_of({"X-ray": 4}, rng, tau=0.05, images=n)
        return study([network(rng, replace(c, location=c.location - MIDDLE + location)) for c in cohorts])

    def slow(rng: np.random.Generator, *, n: int) -> Evidence:
        slopes = 0.01 + 0.004 * rng.standard_normal(6)
        cohorts = [CohortTruth(f"X{i}", images=n, grid=NINE, falls=float(slope)) for i, slope in enumerate(slopes)]
        return study([network(rng, cohort) for cohort in cohorts])

    def odd_grid(rng: np.random.Generator) -> Evidence:
        cohorts = cohorts_of({"X-ray": 6}, rng, images=200)
        return study([network(rng, c) for c in (*cohorts, CohortTruth("odd", images=20, grid=(0.01, 0.02)))])

    for name, of in (("hump", (0.05, 0.5, 0.95, 0.95, 0.5, 0.05)), ("U shape", (0.9, 0.4, 0.1, 0.1, 0.4, 0.9))):
        for k, n in ((4, 400), (1, 1000)):
            make = partial(rates, of=of, k=k, n=n)
            yield Scenario(f"{name}, k = {k}, n = {n}", 1, make, 0.0, frozenset(), "", True, k)
    rising = frozenset({"supported"})
    for name, location in (
        ("97% fall at the smallest ε", float(np.log(GRID[0])) - 0.7 * 1.95),
        ("4% fall at the largest ε", float(np.log(GRID[-1])) + 0.7 * 1.75),
    ):
        truth = slope_truth(NORMAL, GRID, 0.05, location)
        make = partial(thresholds, location=location, n=200)
        yield Scenario(f"rises, {name}, k = 4", 1, make, truth, rising, "contradicted", False, 4)
    yield Scenario(
        "1 point a doubling over nine, k = 6", 1, partial(slow, n=60), 0.01, rising, "contradicted", False, 6
    )
    truth = slope_truth(NORMAL, GRID, 0.3)
    yield Scenario(
        "rises, one cohort with two ε of its own, k = 7", 1, odd_grid, truth, rising, "contradicted", False, 6
    )


def control_scenarios() -> Iterator[Scenario]:
    """Question 3 in planned stores: level curves, and a control with twice the iterations that says something else."""

    def controlled(
        rng: np.random.Generator, *, k: int, n: int, sample: int, gain: float = 0.0, loss: float = 0.0,
        among: int | None = None, grid: tuple[float, ...] = GRID, any_gain: float | None = None, success: str = "last",
    ) -> Evidence:  # fmt: skip
        packs = [network(rng, c) for c in cohorts_of({"X-ray": k}, rng, images=n, grid=grid)]
        found = [
            with_control(
                rng, pack, gain=gain if among is None or i < among else 0.0, loss=loss, images=sample, any_gain=any_gain
            )
            for i, pack in enumerate(packs)
        ]
        made = study(found, prespecified=True)
        return made.at(success=success)

    def scenario(name: str, right: set[str], opposite: str, *, null: bool = False, **settings: object) -> Scenario:
        k = int(settings["k"])  # type: ignore[call-overload]
        return Scenario(
            f"control: {name}", 3, partial(controlled, **settings), ANY, frozenset(right), opposite, null, k
        )  # type: ignore[arg-type]

    level, moving = {"supported"}, {"contradicted"}
    yield scenario("nothing changes, k = 4, 48 images × 5 ε", level, "contradicted", k=4, n=48, sample=48, grid=FIVE)
    yield scenario("nothing changes, k = 6, n = 200", level, "contradicted", k=6, n=200, sample=200)
    yield scenario("nothing changes, k = 6, samples of 8", level, "contradicted", k=6, n=200, sample=8)
    for k, n in ((1, 400), (4, 48), (4, 200), (8, 100)):
        common = {"null": True, "k": k, "n": n, "sample": n, "grid": MIDDLES}
        yield scenario(f"gains 2 points, k = {k}, n = {n}", set(), "", gain=0.02, **common)
        yield scenario(f"loses 2 points, k = {k}, n = {n}", set(), "", loss=0.02, **common)
    for k, n in ((4, 48), (6, 200)):
        yield scenario(f"gains 10 points, k = {k}, n = {n}", moving, "supported", k=k, n=n, sample=n, gain=0.1)
        yield scenario(f"loses 10 points, k = {k}, n = {n}", moving, "supported", k=k, n=n, sample=n, loss=0.1)
    yield scenario(
        "one of six cohorts gains 20 points, 60 images", moving, "supported", k=6, n=200, sample=60, gain=0.2, among=1
    )
    yield scenario(
        "any iterate gains 10 points, k = 6, n = 200", moving, "supported", k=6, n=200, sample=200, any_gain=0.1,
        success="any",
    )  # fmt: skip


def range_scenarios() -> Iterator[Scenario]:
    """Question 5: a grid that cannot resolve the margin, cohorts with other sizes, a main network with another grid."""

    def series(
        rng: np.random.Generator, cohort: CohortTruth, sizes: tuple[int, ...], ratio: float, *, seeds: int = 3,
        main_grid: tuple[float, ...] = (),
    ) -> list[OutcomeArrays]:  # fmt: skip
        base, span = thresholds_of(rng, cohort), np.log2(sizes[-1] / sizes[0])
        packs = []
        for size in sizes:
            for seed in range(seeds):
                shift = np.log(ratio) * (np.log2(size / sizes[0]) / span - 0.5) + 0.03 * rng.standard_normal()
                main = size == sizes[-1] and seed == 0
                own = replace(cohort, grid=main_grid) if main and main_grid else cohort
                packs.append(network(rng, own, size=size, seed=seed, primary=main, base=base, shift=float(shift)))
        return packs

    def one(
        rng: np.random.Generator, *, ratio: float, grid: tuple[float, ...], at: float, spread: float,
        main_grid: tuple[float, ...] = (),
    ) -> Evidence:  # fmt: skip
        cohort = CohortTruth(
            "H-BR", "histology", images=300, grid=grid, location=at, shape=Shape("normal", spread=spread)
        )
        return study(series(rng, cohort, (100, 200, 400, 800), ratio, main_grid=main_grid))

    def two(rng: np.random.Generator, *, ratio: float) -> Evidence:
        first, second = (CohortTruth(name, "histology", images=300) for name in "AB")
        return study([
            *series(rng, first, (100, 120, 150), ratio**0.69), *series(rng, second, (5000, 6000, 9000), ratio)
        ])  # fmt: skip

    depends = frozenset({"contradicted"})
    for grid, low, high in (((0.02, 0.1, 0.2), 0.02, 0.1), (GRID, 0.0025, 0.005), (GRID, 0.001, 0.0025)):
        for spread in (0.1, 0.2, 0.3):
            make = partial(one, ratio=1.6, grid=grid, at=float(np.log(low * high)) / 2, spread=spread)
            name = f"ratio 1.6, all between ε = {low:g} and {high:g}, spread {spread:g}"
            yield Scenario(name, 5, make, 1.6, depends, "supported", False, 12)
    for ratio, right in ((1.0, {"supported"}), (1.25, set())):
        name = f"ratio {ratio:g}, two cohorts of other sizes"
        make = partial(two, ratio=ratio)
        yield Scenario(name, 5, make, ratio, frozenset(right), "contradicted" if right else "", True, 18)
    for ratio, right in ((1.0, {"supported"}), (1.25, set())):
        make = partial(one, ratio=ratio, grid=GRID[:4], at=MIDDLE, spread=0.7, main_grid=GRID)
        name = f"ratio {ratio:g}, main network on a longer grid"
        yield Scenario(name, 5, make, ratio, frozenset(right), "contradicted" if right else "", True, 12)
