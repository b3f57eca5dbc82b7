"""Conclusion 4: success drops sharply where the clean confidence exceeds 0.95."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from advassay.analysis.claims.drops import FEWEST, THRESHOLD, Drop, drop_of, row_of
from advassay.analysis.claims.statement import FEWEST_COHORTS, LEVEL, Conclusion, Verdict, finite, listed, lone, span
from advassay.analysis.claims.visible import Bound, at_bound, needed
from advassay.analysis.differences import Difference, mean_difference
from advassay.analysis.packed import Packed
from advassay.analysis.selection import USUAL_EPSILON, closest_epsilon, packs_of
from advassay.records.store import Records

PUBLISHED = "Success drops sharply where the clean confidence exceeds 0.95, most of all in H-OV and H-OV-TH."
MARGIN = 0.05
"""A smaller drop is not a sharp one."""


@dataclass(frozen=True)
class View:
    """One arm at the amplitude at which most of its cohorts can show a drop."""

    arm: str
    drops: list[Drop]

    @property
    def votes(self) -> int:
        return sum(drop.votes for drop in self.drops)

    @property
    def open(self) -> bool:
        """At least half of the cohorts with enough images are away from ceiling and floor."""
        return self.votes > 0 and 2 * self.votes >= sum(drop.enough for drop in self.drops)

    @property
    def at(self) -> Bound | None:
        return next((drop.at for drop in self.drops if drop.enough and drop.at), None)

    @property
    def amplitudes(self) -> str:
        return ", ".join(f"{epsilon:g}" for epsilon in sorted({drop.epsilon for drop in self.drops}))

    def mean(self, level: float) -> Difference | None:
        """Over the cohorts that vote."""
        found = [drop.difference(level) for drop in self.drops if drop.votes]
        known = [difference for difference in found if difference is not None]
        return mean_difference(known) if known else None


def confidence(records: Records, epsilon: float | None = None, level: float = LEVEL) -> Conclusion:
    """Mean over cohorts of (success above 0.95 − success at or below it), last iterate.

    A cohort whose two sides both stand at the ceiling or floor cannot show a drop and does not vote. Where the main
    arm has no amplitude at which half of its cohorts vote, the arm that reaches further speaks; the choice looks at
    success as a whole, never at the difference. Supported: the interval is below 0 and the drop at least the margin.
    Contradicted: a drop of the margin is excluded. With one voting cohort undecided. The other arms stand beside it: a
    drop that only a saturating loss shows is an artefact of the update.
    """
    views = [_view(records, arm, epsilon) for arm in records.arms]
    chosen = _speaking(views)
    mean = chosen.mean(level) if chosen else None
    verdict, reason = _verdict(chosen, mean)
    return Conclusion(
        number=4,
        title="Confidence",
        statement=f"Success is lower where the clean confidence exceeds {THRESHOLD}.",
        estimand=f"success rate at clean confidence > {THRESHOLD} minus at ≤ {THRESHOLD}, mean over cohorts",
        estimate=finite(mean.estimate) if mean else None,
        low=finite(mean.low) if mean else None,
        high=finite(mean.high) if mean else None,
        test="difference of two proportions, square-and-add of Wilson bounds with the patients' effective n; the "
        "interval is about these cohorts",
        p=None,
        n=chosen.votes if chosen else 0,
        unit="cohorts",
        verdict=verdict,
        breadth=f"over {chosen.votes} of {len(chosen.drops)} cohorts" if chosen and verdict != "undecided" else "",
        reason=reason + _moved(views, chosen) + _compared(views, chosen, level),
        level=level,
        margin=MARGIN,
        published=PUBLISHED,
        alternatives=_alternatives(views, level),
        details=tuple(row for view in views for row in _of_arm(view, level)),
    )


def _view(records: Records, arm: str, epsilon: float | None) -> View:
    """The arm at its ε nearest to the wanted one; where that is not open, at the ε where most cohorts vote."""
    packs = packs_of(records, arm)
    wanted = USUAL_EPSILON if epsilon is None else epsilon
    usual = _at(arm, packs, wanted)
    if usual.open or not packs:
        return usual
    recorded = sorted({float(e) for pack in packs for e in pack.epsilons}, key=lambda e: abs(np.log(e / wanted)))
    best = max((_at(arm, packs, e) for e in recorded), key=lambda view: view.votes)
    return best if best.votes > usual.votes else usual


def _at(arm: str, packs: list[Packed], epsilon: float) -> View:
    return View(arm, [drop_of(pack, closest_epsilon(pack, epsilon)) for pack in packs])


def _speaking(views: list[View]) -> View | None:
    """The main arm where it is open; else of it and the arms that reach further the one with most votes."""
    if not views or views[0].open:
        return views[0] if views else None
    return max([views[0], *(view for view in views[1:] if _further(view, views[0]))], key=lambda view: view.votes)


def _further(view: View, main: View) -> bool:
    """Seen at amplitudes below all of the main arm's at its ceiling, above them at its floor."""
    seen = [drop.epsilon for drop in view.drops]
    declared = [float(e) for drop in main.drops for e in drop.pack.epsilons]
    if not seen or not declared or main.at is None:
        return False
    return max(seen) < min(declared) if main.at == "ceiling" else min(seen) > max(declared)


def _verdict(view: View | None, mean: Difference | None) -> tuple[Verdict, str]:
    if view is None:
        return "undecided", "No cohort was attacked."
    cohorts, where = len(view.drops), f"arm {view.arm}, ε = {view.amplitudes}"
    if mean is None:
        return "undecided", _unseen(view, where)
    told = (
        f"Mean difference {span(mean.estimate, mean.low, mean.high)} over {view.votes} of {cohorts} cohorts "
        f"({listed([drop.pack.header.cohort for drop in view.drops if drop.votes])}; {where})."
    )
    if 2 * view.votes < cohorts:
        return "undecided", told + " Fewer than half of the cohorts can show a drop." + _silent(view)
    if view.votes < FEWEST_COHORTS:
        return "undecided", lone(told) + _silent(view)
    if mean.high < 0 and mean.estimate <= -MARGIN:
        return "supported", told + _silent(view)
    if mean.low > -MARGIN:
        return "contradicted", told + f" A drop of {MARGIN:g} is excluded." + _silent(view)
    return "undecided", told + " Neither a drop nor its absence is shown." + _silent(view)


def _moved(views: list[View], chosen: View | None) -> str:
    """Why another than the main arm speaks."""
    if chosen is None or chosen is views[0]:
        return ""
    where = f"arm {views[0].arm} (ε = {views[0].amplitudes})"
    return f" In {where} most cohorts stand at their {views[0].at}, so arm {chosen.arm} speaks."


def _unseen(view: View, where: str) -> str:
    """Why no cohort votes."""
    if view.at is None:
        return f"too few images: none of {len(view.drops)} cohorts has {FEWEST} on each side of {THRESHOLD} ({where})."
    return f"{view.at}: {at_bound(view.at)} on both sides ({where}); {needed(view.at)} amplitudes are needed."


def _silent(view: View) -> str:
    """The cohorts that do not vote, and why."""
    few = [drop.pack.header.cohort for drop in view.drops if not drop.enough]
    stuck = [drop.pack.header.cohort for drop in view.drops if drop.enough and drop.at]
    told = f" Fewer than {FEWEST} images on a side: {listed(few)}." if few else ""
    return told + (f" At ceiling or floor on both sides: {listed(stuck)}." if stuck else "")


def _compared(views: list[View], chosen: View | None, level: float) -> str:
    others = []
    for view in views:
        mean = view.mean(level)
        if view is not chosen and mean is not None:
            told = span(mean.estimate, mean.low, mean.high)
            others.append(
                f"arm {view.arm} {told} over {view.votes} of {len(view.drops)} cohorts at ε = {view.amplitudes}"
            )
    return f" Beside it: {'; '.join(others)}." if others else ""


def _alternatives(views: list[View], level: float) -> tuple[str, ...]:
    """Name the arms that disagree: then the update rule, not the image, makes the drop."""
    means = [(view.arm, view.mean(level)) for view in views]
    with_drop = [arm for arm, mean in means if mean is not None and mean.high < 0]
    without = [arm for arm, mean in means if mean is not None and mean.low > -MARGIN]
    artefact = (
        f"Arms {listed(with_drop)} show the drop, arms {listed(without)} exclude it: it depends on the update rule or "
        "the loss (a saturated softmax gives a vanishing gradient)."
    )
    confounded = (
        "Confident images are also farther from the decision boundary; classes and patients differ between the bins."
    )
    return (artefact, confounded) if with_drop and without else (confounded,)


def _of_arm(view: View, level: float) -> list[dict[str, Any]]:
    """One arm's rows, and its mean over the cohorts that vote."""
    rows, mean = [row_of(drop, level) for drop in view.drops], view.mean(level)
    if not rows:
        return []
    amplitudes = {row["epsilon"] for row in rows}
    about = {"cohort": f"mean over {view.votes} of {len(rows)} cohorts"}
    about |= {key: rows[0][key] for key in ("arm", "loss", "update")}
    return [*rows, about | {
        "epsilon": amplitudes.pop() if len(amplitudes) == 1 else None,
        "difference": finite(mean.estimate) if mean else None, "low": finite(mean.low) if mean else None,
        "high": finite(mean.high) if mean else None,
    }]  # fmt: skip
