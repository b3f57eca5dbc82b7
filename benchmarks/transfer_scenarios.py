"""Simulated studies for questions 6 and 7, with a known truth, judged as stores are.

    python -m benchmarks.transfer_scenarios              # 2,000 studies of each null scenario, 500 of each other

Question 6: how much more often attacked images mislead another network than noise does. In a pair of networks an image
is misled by noise with the chance `noise`, and as attacked with a chance that is larger by the effect of its cohort, of
its source and of its target. A share `icc` of the luck of an image is shared by its patient and by all pairs.
Question 7: distances in features and in pixels are log-normal, about a level of their cohort and of their network;
images share a part over networks, and images of a patient a part of that. Arrays are made in memory. A verdict is false
when it says what is not so; opposite: it says that the effect goes the other way.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import special

from advassay.analysis.conclusions.conclusion import Verdict, verdict_of
from advassay.analysis.conclusions.effect_sizes import Effect
from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.conclusions.features import features_effect
from advassay.analysis.conclusions.transfer import transfer_effect
from advassay.analysis.distance_in_features import CohortFeatures
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


def cohort_transfer(
    rng: np.random.Generator, truth: TransferTruth, pack: OutcomeArrays | None = None
) -> CohortTransfer:
    """The arrays of one cohort; `pack`: of its main network, where that is made already."""
    m, n, e = truth.networks, truth.images, len(truth.epsilons)
    patients = np.arange(n) // truth.images_per_patient
    networks = tuple(TransferNetwork(f"{truth.name}{i}", "vit", 80, True, i) for i in range(m))
    source, target = (truth.between_networks * rng.standard_normal(m) for _ in range(2))
    chance = np.clip(truth.noise + truth.effect + source[:, None] + target[None, :], 0, 1)
    attacked = _lucky(rng, truth, patients, (m, m, e, n)) < chance[:, :, None, None]
    noise = _lucky(rng, truth, patients, (m, m, e, n)) < truth.noise
    right = rng.random((m, n)) < truth.accuracy
    counted = np.broadcast_to((right[:, None] & right[None])[:, :, None], (m, m, e, n)).copy()
    pack = pack or network(rng, CohortTruth(truth.name, images=n))
    return CohortTransfer(
        pack.header, pack.step_size, networks, np.array(truth.epsilons), pack.image_ids, patients.astype(np.int32),
        counted, attacked & counted, noise & counted,
    )  # fmt: skip


def _lucky(rng: np.random.Generator, truth: TransferTruth, patients: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers, of which a share `icc` of the (normal) variance is the image's and its patient's."""
    people, images = rng.standard_normal(patients.max() + 1)[patients], rng.standard_normal(len(patients))
    shared = np.sqrt(truth.icc / 2) * (people + images)
    found: np.ndarray = special.ndtr(shared + np.sqrt(1 - truth.icc) * rng.standard_normal(shape))
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
        packs.append(network(rng, CohortTruth(own.name, images=images)))
        found.append(cohort_transfer(rng, own, packs[-1]))
    return Evidence(plan or AnalysisPlan(), tuple(packs), {}, transfers=tuple(found))


@dataclass(frozen=True)
class FeatureTruth:
    """Distances of one cohort; standard deviations are of logarithms."""

    networks: int = 2
    images_per_patient: int = 1
    icc: float = 0.5
    """Share of what images have in common over networks that is their patient's."""
    between_networks: float = 0.1
    within: float = 0.3
    """Of an image's part that all networks share, and of the part of each network."""


def features_study(
    rng: np.random.Generator, *, ratio: float, cohorts: int = 5, images: int = 40, between_cohorts: float = 0.1,
    truth: FeatureTruth = FeatureTruth(),
) -> Evidence:  # fmt: skip
    """A study of so many cohorts, whose ln ratios differ by `between_cohorts`."""
    packs, found = [], []
    for k in range(cohorts):
        pack = network(rng, CohortTruth(f"X-{k}", images=images))
        level = np.log(ratio) + between_cohorts * rng.standard_normal()
        patients = np.arange(images) // truth.images_per_patient
        people = rng.standard_normal(patients.max() + 1)[patients]
        own = np.sqrt(truth.icc) * people + np.sqrt(1 - truth.icc) * rng.standard_normal(images)
        frames = []
        for j in range(truth.networks):
            noise = truth.within * (own + rng.standard_normal(images)) - truth.within**2  # its exponential has mean 1
            pixel = 0.1 * np.exp(0.2 * rng.standard_normal(images))
            of_network = truth.between_networks * rng.standard_normal() - truth.between_networks**2 / 2
            feature = 0.1 * np.exp(0.2**2 / 2) * np.exp(level + of_network + noise)
            columns = {
                "network": [f"n{j}"] * images, "epsilon": [0.02] * images, "image_id": pack.image_ids.tolist(),
                "patient_id": [f"p{i}" for i in patients], "misled": [True] * images, "ssim": [0.9] * images,
                "pixel_l2": pixel, "pixel": pixel, "feature": feature, "pixel_noise": pixel,
                "feature_noise": feature / 3, "pixel_same": [0.9] * images, "feature_same": [0.8] * images,
            }  # fmt: skip
            frames.append(pl.DataFrame(columns))
        packs.append(pack)
        found.append(CohortFeatures(pack.header, pl.concat(frames)))
    return Evidence(AnalysisPlan(), tuple(packs), {}, features=tuple(found))


@dataclass(frozen=True)
class TransferScenario:
    """A population of studies of one question. `right`: verdicts that are true of it; `studies`: how many a test
    judges, 0 = none; `null`: no effect, or one exactly at the margin."""

    name: str
    effect: float
    """Question 6: difference of shares. Question 7: ratio."""
    right: frozenset[Verdict]
    cohorts: int = 5
    images: int = 60
    between_cohorts: float = 0.0
    truth: TransferTruth | FeatureTruth = TransferTruth("X")
    studies: int = 0
    least_true: float = 0.0
    null: bool = False

    @property
    def question(self) -> int:
        return 7 if isinstance(self.truth, FeatureTruth) else 6

    @property
    def opposite(self) -> Verdict | None:
        """The verdict that the effect goes the other way; None where there is no effect."""
        none = 1.0 if self.question == 7 else 0.0
        return None if self.effect == none else "contradicted" if self.effect > none else "supported"

    def judged(self, rng: np.random.Generator) -> tuple[Effect, Verdict, float]:
        """(effect, verdict, the truth on the effect's scale) of one study, as the question takes them."""
        common = {"cohorts": self.cohorts, "images": self.images, "between_cohorts": self.between_cohorts}
        margins = AnalysisPlan().margins
        if isinstance(self.truth, FeatureTruth):
            effect = features_effect(features_study(rng, ratio=self.effect, truth=self.truth, **common))  # type: ignore[arg-type]
            return effect, verdict_of(effect, float(np.log(margins.of_features))), float(np.log(self.effect))
        effect = transfer_effect(transfer_study(rng, effect=self.effect, truth=self.truth, **common))  # type: ignore[arg-type]
        return effect, verdict_of(effect, margins.of_transfer), self.effect


NONE, SOME = frozenset[Verdict]({"contradicted"}), frozenset[Verdict]({"supported"})
STUDIES: Sequence[TransferScenario] = (
    TransferScenario("no effect, 5 cohorts", 0.0, NONE, studies=150, null=True),
    TransferScenario("no effect, cohorts differ", 0.0, NONE, between_cohorts=0.04, studies=150, null=True),
    TransferScenario("no effect, 2 cohorts", 0.0, NONE, cohorts=2, null=True),
    TransferScenario("no effect, one cohort, networks differ", 0.0, NONE, cohorts=1, images=120,
                     truth=TransferTruth("X", between_networks=0.06, noise=0.3), studies=150, null=True),
    TransferScenario("no effect, one cohort, 3 networks", 0.0, NONE, cohorts=1, images=120,
                     truth=TransferTruth("X", between_networks=0.06, noise=0.3, networks=3), null=True),
    TransferScenario("no effect, patients of 4 images", 0.0, NONE, images=80,
                     truth=TransferTruth("X", images_per_patient=4, icc=0.6), studies=150, null=True),
    TransferScenario("no effect, noise misleads rarely", 0.0, NONE, images=120,
                     truth=TransferTruth("X", noise=0.05, between_networks=0.01), null=True),
    TransferScenario("at the margin (5 points)", 0.05, SOME, images=200, studies=150, null=True),
    TransferScenario("at the margin, cohorts differ", 0.05, SOME, images=200, between_cohorts=0.03, null=True),
    TransferScenario("effect of 10 points", 0.1, SOME, between_cohorts=0.03),
    TransferScenario("effect of 20 points", 0.2, SOME, between_cohorts=0.05, studies=150, least_true=0.9),
    TransferScenario("effect of 20 points, one cohort", 0.2, SOME, cohorts=1, images=120),
    TransferScenario("10 points less than noise", -0.1, NONE, truth=TransferTruth("X", noise=0.3)),
    TransferScenario("ratio 1, 5 cohorts", 1.0, NONE, images=40, between_cohorts=0.1, truth=FeatureTruth(),
                     studies=100, null=True),
    TransferScenario("ratio 1, one cohort, 4 networks", 1.0, NONE, cohorts=1, images=40, truth=FeatureTruth(networks=4),
                     null=True),
    TransferScenario("ratio 1, patients of 4 images", 1.0, NONE, images=80, between_cohorts=0.1,
                     truth=FeatureTruth(images_per_patient=4), null=True),
    TransferScenario("at the margin (1.25)", 1.25, SOME, images=40, between_cohorts=0.1, truth=FeatureTruth(),
                     null=True),
    TransferScenario("ratio 1.5", 1.5, SOME, images=40, between_cohorts=0.1, truth=FeatureTruth()),
    TransferScenario("ratio 3", 3.0, SOME, images=40, between_cohorts=0.1, truth=FeatureTruth(), studies=100,
                     least_true=0.95),
    TransferScenario("ratio 0.4", 0.4, NONE, images=40, between_cohorts=0.1, truth=FeatureTruth(), studies=100,
                     least_true=0.95),
)  # fmt: skip
NULLS, OTHERS = 2_000, 500


@dataclass(frozen=True)
class Simulated:
    """Shares of the studies: verdicts that are true, false and opposite, and intervals that hold the true effect."""

    true: float
    false: float
    opposite: float
    coverage: float
    studies: int


def simulate(scenario: TransferScenario, studies: int, seed: int = 0) -> Simulated:
    """Judge so many studies of a population; the draws depend on the seed and the scenario's name alone."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{scenario.question} {scenario.name}".encode())])
    verdicts, held = [], []
    for _ in range(studies):
        effect, verdict, truth = scenario.judged(rng)
        verdicts.append(verdict)
        low, high = np.nan_to_num([effect.low, effect.high], nan=np.inf, posinf=np.inf, neginf=-np.inf)
        held.append(not effect.known or low <= truth <= high)
    true = np.mean([verdict in scenario.right for verdict in verdicts])
    false = np.mean([verdict not in scenario.right | {"undecided"} for verdict in verdicts])
    opposite = np.mean([verdict == scenario.opposite for verdict in verdicts])
    return Simulated(float(true), float(false), float(opposite), float(np.mean(held)), studies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, help=f"of every scenario, in place of {NULLS:,} and {OTHERS}")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| question | scenario | studies | true verdict % | undecided % | false % | opposite % | coverage % |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for scenario in STUDIES:
        found = simulate(scenario, asked.studies or (NULLS if scenario.null else OTHERS), asked.seed)
        rest = 1 - found.true - found.false
        opposite = "" if scenario.opposite is None else f"{100 * found.opposite:.1f}"
        shares = f"{100 * found.true:.0f} | {100 * rest:.0f} | {100 * found.false:.1f} | {opposite}"
        name = f"{scenario.name} (null)" if scenario.null else scenario.name
        print(
            f"| {scenario.question} | {name} | {found.studies:,} | {shares} | {100 * found.coverage:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
