"""Whole simulated studies: is what the five conclusions say true of the truth that the records were made from?

Every study has eight cohorts (four of each image type, 200 patients × 2 images, ICC 0.2), two arms and, in one cohort,
a training-size series (3 sizes × 3 seeds). Its truth is drawn anew: for each conclusion a true statement, a false
one or (2, 4, 5) exactly the null. A verdict is false when it says what is not so; undecided is never false.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from advassay.analysis import Conclusion, conclusions
from advassay.analysis.claims.confidence import MARGIN as DROP
from advassay.analysis.claims.training_size import MARGIN as DEPENDENCE
from advassay.analysis.plateau import MARGIN as RISE
from advassay.attack_spec import Arm
from benchmarks.in_memory import simulated_records
from tests.simulate import Cohort

A = Arm(epsilons=(0.01, 0.02, 0.05, 0.1, 0.2), step_sizes=(0.01,), steps=12)
C = Arm(epsilons=(0.0025, 0.005, 0.01, 0.02), step_sizes=("epsilon/4",), steps=12, loss="margin")
SIZES, SEEDS = (40, 80, 160), (0, 1, 2)
DOSES = {"A": 0.0, "C": 1.0}
"""How much stronger than arm A arm C is."""
USUAL = 0.02


@dataclass(frozen=True)
class Truth:
    """What one study is made from."""

    cohorts: tuple[Cohort, ...]
    difference: float
    """Of the mean slopes, histology minus X-ray, of the populations that cohorts are drawn from."""

    def holds(self, found: Conclusion) -> dict[str, bool]:
        """verdict → whether it would be true."""
        return (self._amplitude, self._image_type, self._iterations, self._confidence, self._size)[found.number - 1](
            found
        )

    def _amplitude(self, found: Conclusion) -> dict[str, bool]:
        rising = sum(c.slope > 0 for c in self.cohorts)
        return {"supported": 2 * rising > len(self.cohorts), "contradicted": 2 * rising < len(self.cohorts)}

    def _image_type(self, found: Conclusion) -> dict[str, bool]:
        return {"supported": self.difference < 0, "contradicted": self.difference > 0}

    def _iterations(self, found: Conclusion) -> dict[str, bool]:
        rising = [c.rise > 0 for c in self.cohorts]
        late = A.steps - max(1, A.steps // 4)
        level = [c.rate(USUAL, A.steps) - c.rate(USUAL, late) < RISE for c in self.cohorts]
        supported = sum(up and flat for up, flat in zip(rising, level, strict=True))
        against = sum(not up or not flat for up, flat in zip(rising, level, strict=True))
        return {"supported": 2 * supported > len(self.cohorts), "contradicted": 2 * against > len(self.cohorts)}

    def _confidence(self, found: Conclusion) -> dict[str, bool]:
        """The true mean drop over the cohorts that vote, at the ε at which they do."""
        speaking = next((row["arm"] for row in found.details if row.get("votes")), "A")
        extra = DOSES[speaking]
        by_name = {c.name: c for c in self.cohorts}
        rows = [row for row in found.details if row.get("votes") and row["arm"] == speaking]
        drops = [_drop(by_name[row["cohort"]], row["epsilon"], extra) for row in rows]
        mean = float(np.mean(drops)) if drops else 0.0
        return {"supported": mean < 0, "contradicted": mean > -DROP}

    def _size(self, found: Conclusion) -> dict[str, bool]:
        cohort = next(c for c in self.cohorts if c.sizes)
        epsilon = next((row["epsilon"] for row in found.details if row["row"] == "network"), USUAL)
        sizes = np.log2([*SIZES, 320])
        rates = [cohort.rate(epsilon, A.steps, cohort.size_effect * (x - np.log2(SIZES[-1]))) for x in sizes]
        slope = float(np.polyfit(np.repeat(sizes, (3, 3, 3, 1)), np.repeat(rates, (3, 3, 3, 1)), 1)[0])
        return {"supported": abs(slope) < DEPENDENCE, "contradicted": abs(slope) > 1e-9}


def _drop(cohort: Cohort, epsilon: float, extra: float) -> float:
    dose = cohort.slope * np.log(epsilon / cohort.epsilon50) - cohort.rise * np.exp(-A.steps / cohort.tau) + extra
    return float(norm.cdf(dose - cohort.confidence_shift) - norm.cdf(dose))


def truths(studies: int, seed: int) -> Iterator[Truth]:
    """Draw each study's truth."""
    rng = np.random.default_rng([seed, 7])
    for _ in range(studies):
        falling = rng.choice([0, 1, 6], p=[0.4, 0.3, 0.3])
        gap = rng.choice([-0.6, 0.0, 0.6])
        shift = rng.choice([0.0, 0.3, 1.2])
        rise, tau = rng.choice([(3.0, 1.5), (0.0, 1.0), (3.0, 10.0)])
        names = [f"X{i}" for i in range(4)] + [f"H{i}" for i in range(4)]
        down = set(rng.choice(names, falling, replace=False).tolist())
        cohorts = [
            Cohort(
                name, "X-ray" if name[0] == "X" else "histology",
                epsilon50=float(np.exp(rng.normal(np.log(0.03), 0.3))),
                slope=float(_slope(rng, gap if name[0] == "H" else 0.0) * (-1 if name in down else 1)),
                rise=rise, tau=tau, patients=200, images_per_patient=2, icc=0.2, confidence_shift=shift,
            )
            for name in names
        ]  # fmt: skip
        series = replace(
            cohorts[7], sizes=SIZES, seeds=SEEDS, size_effect=float(rng.choice([0.0, 0.0, 0.3])), network_sd=0.05
        )
        yield Truth((*cohorts[:7], series), float(gap) if not down else float("nan"))


def _slope(rng: np.random.Generator, gap: float) -> float:
    return max(0.15, 1.0 + gap / 2 + rng.normal(0, 0.15))


def judged(truth: Truth, seed: int) -> list[tuple[Conclusion, dict[str, bool]]]:
    """The study made and concluded upon."""
    records = simulated_records(truth.cohorts, {"A": A, "C": C}, DOSES, seed)
    return [(found, truth.holds(found)) for found in conclusions(records)]


def report(studies: int, seed: int) -> str:
    """Markdown: verdicts of each conclusion against the truth, false verdicts, power."""
    seen: Counter[tuple[int, str, str]] = Counter()
    for k, truth in enumerate(truths(studies, seed)):
        for found, holds in judged(truth, seed * 100_000 + k):
            so = "true" if holds["supported"] else "false" if holds["contradicted"] else "null"
            wrong = found.verdict != "undecided" and not holds[found.verdict]
            unknown = found.number == 2 and truth.difference != truth.difference
            seen[found.number, "mixed slopes" if unknown else so, found.verdict] += 1
            seen[found.number, "wrong", ""] += wrong and not unknown
    lines = ["| conclusion | truth | studies | supported | contradicted | undecided |", "|---|---|---:|---:|---:|---:|"]
    for number in range(1, 6):
        for so in ("true", "false", "null", "mixed slopes"):
            counts = [seen[number, so, verdict] for verdict in ("supported", "contradicted", "undecided")]
            if sum(counts):
                lines.append(f"| {number} | {so} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    wrong = [seen[number, "wrong", ""] for number in range(1, 6)]
    told = ", ".join(f"{number}: {count}" for number, count in enumerate(wrong, 1))
    return "\n".join(lines) + f"\n\nFalse verdicts in {studies} studies: {sum(wrong)} in all ({told})."
