"""Simulated studies for question 6, with a known truth: how much more often attacked images mislead than noise.

    python -m benchmarks.transfer_scenarios              # 2,000 studies a scenario

In a pair of networks an image is misled by noise with the chance `noise`, and as attacked with a chance that is larger
by the effect of its cohort, of its source and of its target. A share `icc` of the luck of an image is shared by its
patient and by all pairs. Verdict arrays are made in memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.conclusions.transfer import judge_transfer
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.analysis.transfer_outcomes import CohortTransfer, TransferNetwork
from advassay.spec.analysis_plan import AnalysisPlan
from benchmarks.verdict_scenarios import CohortTruth, network


@dataclass(frozen=True)
class TransferTruth:
    """One cohort. Effects are differences of chances; `between_networks` is their standard deviation by network."""

    name: str
    effect: float = 0.0
    noise: float = 0.15
    networks: int = 4
    images: int = 60
    images_per_patient: int = 1
    icc: float = 0.3
    between_networks: float = 0.03
    accuracy: float = 0.9
    epsilons: tuple[float, ...] = (0.02,)


def cohort_transfer(rng: np.random.Generator, truth: TransferTruth) -> CohortTransfer:
    """The arrays of one cohort."""
    m, n, e = truth.networks, truth.images, len(truth.epsilons)
    patients = np.arange(n) // truth.images_per_patient
    networks = tuple(TransferNetwork(f"{truth.name}{i}", "vit", 80, True, i) for i in range(m))
    source, target = (truth.between_networks * rng.standard_normal(m) for _ in range(2))
    chance = np.clip(truth.noise + truth.effect + source[:, None] + target[None, :], 0, 1)
    attacked = _lucky(rng, truth, patients, (m, m, e, n)) < chance[:, :, None, None]
    noise = _lucky(rng, truth, patients, (m, m, e, n)) < truth.noise
    right = rng.random((m, n)) < truth.accuracy
    counted = np.broadcast_to((right[:, None] & right[None])[:, :, None], (m, m, e, n)).copy()
    pack = network(rng, CohortTruth(truth.name, images=n))
    return CohortTransfer(
        pack.header, pack.step_size, networks, np.array(truth.epsilons), pack.image_ids, patients.astype(np.int32),
        counted, attacked & counted, noise & counted,
    )  # fmt: skip


def _lucky(rng: np.random.Generator, truth: TransferTruth, patients: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers, of which a share `icc` of the (normal) variance is the image's and its patient's."""
    people, images = rng.standard_normal(patients.max() + 1)[patients], rng.standard_normal(len(patients))
    shared = np.sqrt(truth.icc / 2) * (people + images)
    found: np.ndarray = stats.norm.cdf(shared + np.sqrt(1 - truth.icc) * rng.standard_normal(shape))
    return found


def transfer_study(
    rng: np.random.Generator, *, effect: float, cohorts: int, images: int, between_cohorts: float = 0.0,
    epsilons: tuple[float, ...] = (0.02,), plan: AnalysisPlan | None = None, truth: TransferTruth | None = None,
) -> Evidence:  # fmt: skip
    """A study of so many cohorts, whose own effects differ by `between_cohorts`."""
    packs: list[OutcomeArrays] = []
    found = []
    for k in range(cohorts):
        own = replace(
            truth or TransferTruth("X"), name=f"X-{k}", effect=effect + between_cohorts * rng.standard_normal(),
            images=images, epsilons=epsilons,
        )  # fmt: skip
        made = cohort_transfer(rng, own)
        pack = network(rng, CohortTruth(own.name, images=images))
        made = replace(made, header=pack.header, image_ids=pack.image_ids)
        packs.append(pack)
        found.append(made)
    return Evidence(plan or AnalysisPlan(), tuple(packs), {}, transfers=tuple(found))


@dataclass(frozen=True)
class TransferScenario:
    """A population of studies. `right`: verdicts that are true of it; `studies`: how many a test judges, 0 = none."""

    name: str
    effect: float
    right: frozenset[str]
    cohorts: int = 5
    images: int = 60
    between_cohorts: float = 0.0
    truth: TransferTruth = TransferTruth("X")
    studies: int = 0
    least_true: float = 0.0


NONE, SOME = frozenset({"contradicted"}), frozenset({"supported"})
STUDIES: Sequence[TransferScenario] = (
    TransferScenario("no effect, 5 cohorts", 0.0, NONE, studies=150),
    TransferScenario("no effect, cohorts differ", 0.0, NONE, between_cohorts=0.04, studies=150),
    TransferScenario("no effect, 2 cohorts", 0.0, NONE, cohorts=2),
    TransferScenario("no effect, one cohort, networks differ", 0.0, NONE, cohorts=1, images=120,
                     truth=TransferTruth("X", between_networks=0.06, noise=0.3), studies=150),
    TransferScenario("no effect, one cohort, 3 networks", 0.0, NONE, cohorts=1, images=120,
                     truth=TransferTruth("X", between_networks=0.06, noise=0.3, networks=3)),
    TransferScenario("no effect, patients of 4 images", 0.0, NONE, images=80,
                     truth=TransferTruth("X", images_per_patient=4, icc=0.6), studies=150),
    TransferScenario("no effect, noise misleads rarely", 0.0, NONE, images=120,
                     truth=TransferTruth("X", noise=0.05, between_networks=0.01)),
    TransferScenario("at the margin", 0.05, SOME, images=200, studies=150),
    TransferScenario("at the margin, cohorts differ", 0.05, SOME, images=200, between_cohorts=0.03),
    TransferScenario("effect of 20 points", 0.2, SOME, between_cohorts=0.05, studies=150, least_true=0.9),
    TransferScenario("effect of 20 points, one cohort", 0.2, SOME, cohorts=1, images=120),
)  # fmt: skip


@dataclass(frozen=True)
class Simulated:
    """Shares of the studies: verdicts that are true and false, and intervals that hold the true effect."""

    true: float
    false: float
    coverage: float
    studies: int


def simulate(scenario: TransferScenario, studies: int, seed: int = 0) -> Simulated:
    """Judge so many studies of a population."""
    rng = np.random.default_rng([seed, STUDIES.index(scenario)])
    verdicts, held = [], []
    for _ in range(studies):
        found = judge_transfer(
            transfer_study(
                rng, effect=scenario.effect, cohorts=scenario.cohorts, images=scenario.images,
                between_cohorts=scenario.between_cohorts, truth=scenario.truth,
            )
        )  # fmt: skip
        verdicts.append(found.verdict)
        low, high = (-np.inf if found.low is None else found.low), (np.inf if found.high is None else found.high)
        held.append(low <= scenario.effect <= high)
    true = np.mean([verdict in scenario.right for verdict in verdicts])
    false = np.mean([verdict not in scenario.right | {"undecided"} for verdict in verdicts])
    return Simulated(float(true), float(false), float(np.mean(held)), studies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| scenario | studies | true verdict % | undecided % | false % | coverage % |\n|---|---|---|---|---|---|")
    for scenario in STUDIES:
        found = simulate(scenario, asked.studies, asked.seed)
        rest = 1 - found.true - found.false
        shares = " | ".join(f"{100 * value:.1f}" for value in (found.true, rest, found.false, found.coverage))
        print(f"| {scenario.name} | {found.studies} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
