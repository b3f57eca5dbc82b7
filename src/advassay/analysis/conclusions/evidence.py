"""What questions are judged on: the plan in force, the networks of the arm that it names, and their image types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from advassay.analysis.distance_in_features import CohortFeatures, cohort_features
from advassay.analysis.dose_response.epsilon50 import Epsilon50, Estimator, by_bracket, epsilon50_of
from advassay.analysis.dose_response.thresholds import distinct_doses, places_of, thresholds
from advassay.analysis.outcome_arrays import OutcomeArrays, first_step_size, load_outcomes, runs_of, step_sizes
from advassay.analysis.transfer_outcomes import CohortTransfer, cohort_transfers
from advassay.errors import SpecError
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_spec import step_size_name
from advassay.store_documents import AnalysisDocument

SYNONYMS = {
    "X-ray": {
        "x ray", "x rays", "xray", "xrays", "cxr", "radiograph", "radiographs", "radiography", "chest x ray",
        "chest x rays", "chest xray", "chest radiograph", "chest radiographs", "chest radiography",
    },
    "histology": {
        "histology", "histological", "histopathology", "histopathological", "pathology", "digital pathology",
        "microscopy", "light microscopy",
    },
}  # fmt: skip
"""Image type → other names for it, in lower case with spaces for hyphens."""


def kind_of(image_type: str | None) -> str:
    """The image type that a cohort's free text names; the text itself where it is none of the known ones.

    >>> kind_of("Chest X-Ray"), kind_of("histopathology"), kind_of("fundus"), kind_of(None)
    ('X-ray', 'histology', 'fundus', '')
    """
    name = " ".join((image_type or "").lower().replace("-", " ").replace("_", " ").split())
    return next((kind for kind, names in SYNONYMS.items() if name in names), (image_type or "").strip())


@dataclass(frozen=True)
class PlanInForce:
    """A plan with its arm named.

    plan          every choice; `plan.arm` is never None
    prespecified  True: frozen before the first attack. False: after. None: the store holds no plan
    """

    plan: AnalysisPlan
    prespecified: bool | None = None

    @property
    def arm(self) -> str:
        """The arm that decides."""
        assert self.plan.arm is not None
        return self.plan.arm

    def step_size(self, arm: str | None = None) -> str | None:
        """Name of the step size at which an arm (None = the deciding one) is shown; None = the first it declares."""
        if self.plan.step_size is None or arm not in (None, self.arm):
            return None
        return step_size_name(self.plan.step_size)


def plan_in_force(records: Records, plan: AnalysisPlan | None = None) -> PlanInForce:
    """The store's frozen plan, or the defaults where it holds none; `plan` replaces it and is not pre-specified.

    A plan that names no arm is about the first declared one. Raises StoreError where it names none and nothing is
    recorded.
    """
    document = records.analysis
    chosen = plan or (document.plan if document else AnalysisPlan())
    named = chosen if chosen.arm else chosen.model_copy(update={"arm": records.main_arm})
    return PlanInForce(named, None if document is None else document.prespecified and plan is None)


@dataclass(frozen=True)
class Evidence:
    """One store under one plan.

    networks      every network attacked by the plan's arm, at its step size (main ones and size series)
    others        arm → the main networks under every other arm, for what the verdict does not rest on
    prespecified  True: the plan was fixed before the first attack. False: after. None: the store holds no plan
    estimator     of ε50; verdicts rest on the curve, the specification curve looks at the bracket too
    series_planned  False: the plan says that the arm attacks no training-size series, and one was attacked later
    added         names of questions that the plan says are not asked, whose records came later
    later         amplitudes that were added after the plan was fixed, rising: they are shown and decide nothing
    transfers     what cohorts' networks made of images attacked on each other under the plan's arm; empty for most
    features      how far attacked images moved in the networks' features under it; empty for most
    """

    plan: AnalysisPlan
    networks: tuple[OutcomeArrays, ...]
    others: dict[str, tuple[OutcomeArrays, ...]]
    prespecified: bool | None = None
    estimator: Estimator = "curve"
    series_planned: bool = True
    added: frozenset[str] = frozenset()
    later: tuple[float, ...] = ()
    transfers: tuple[CohortTransfer, ...] = ()
    features: tuple[CohortFeatures, ...] = ()

    @property
    def arm(self) -> str:
        return self.networks[0].header.arm if self.networks else ""

    @cached_property
    def main(self) -> tuple[tuple[OutcomeArrays, ...], ...]:
        """Each cohort's main networks: the first, then those of other seeds on the same training set and grid.

        Amplitudes that are recorded for a few images so far are left out (`notes` says so).
        """
        found: list[tuple[OutcomeArrays, ...]] = []
        for pack in self.networks:
            if pack.header.primary and pack.header.cohort not in {packs[0].header.cohort for packs in found}:
                others = (other for other in self.networks if repeats(other, pack))
                found.append(tuple(map(finished, (pack, *others))))
        return tuple(found)

    @cached_property
    def comparable(self) -> tuple[tuple[OutcomeArrays, ...], ...]:
        """Those of `main` that are compared at the same amplitudes (questions 1 and 3).

        A cohort whose grid would cost the others more amplitudes than it adds is left out (`notes` says so).
        """
        grids = [distinct_doses(packs[0])[0] for packs in self.main]
        return tuple(self.main[i] for i in comparable_grids(grids))

    @cached_property
    def shared_doses(self) -> np.ndarray:
        """Amplitudes that every comparable cohort was attacked at, rising."""
        return shared([distinct_doses(packs[0])[0] for packs in self.comparable])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the verdicts because of amplitudes, one sentence each."""
        told = []
        if self.later:
            told.append(
                f"Added after the plan was fixed, shown and not judged: ε = {', '.join(f'{e:g}' for e in self.later)}."
            )
        for pack in self.networks:
            kept = set(finished(pack).epsilons.tolist())
            out = [f"{e:g}" for e in pack.epsilons if e not in kept]
            if out:
                told.append(f"Not judged in {_name(pack)}: ε = {', '.join(out)}, recorded for a few images so far.")
        left = [packs[0] for packs in self.main if not any(packs is kept for kept in self.comparable)]
        for pack in left:
            name = pack.header.cohort
            told.append(f"Cohort {name} is left out of questions 1 and 3: its amplitudes are not those of the others.")
        return tuple(told)

    @cached_property
    def _epsilon50(self) -> dict[int, Epsilon50]:
        return {}

    def epsilon50(self, pack: OutcomeArrays) -> Epsilon50:
        """ε50 of one network under the plan's readings; estimated once."""
        if id(pack) not in self._epsilon50:
            data = thresholds(pack, self.plan.success, self.plan.dose)
            found = epsilon50_of(data, self.plan.level)
            self._epsilon50[id(pack)] = by_bracket(found) if self.estimator == "bracket" else found
        return self._epsilon50[id(pack)]

    def at(self, **changes: object) -> Evidence:
        """The same networks under a plan with other choices (not another arm or step size)."""
        return replace(self, plan=self.plan.model_copy(update=changes))


def _name(pack: OutcomeArrays) -> str:
    """A network as it is told of."""
    h = pack.header
    return h.cohort if h.primary else f"{h.cohort} ({h.train_size} training images, seed {h.seed})"


def at_amplitudes(pack: OutcomeArrays, places: np.ndarray) -> OutcomeArrays:
    """The network at some of its amplitudes alone (indices into its ε, rising)."""
    names = ("epsilons", "present", "decided", "attackable", "last", "any", "decision", "correct", "final_logits")
    return replace(
        pack,
        **{name: getattr(pack, name)[places] for name in names},
        flags={name: flag[places] for name, flag in pack.flags.items()},
    )


def finished(pack: OutcomeArrays) -> OutcomeArrays:
    """The network without amplitudes that are recorded for a few images so far.

    Only images recorded at every amplitude count, so that a new amplitude would leave those few alone. Amplitudes are
    left out, the one with the fewest images first, as long as that makes amplitudes × images larger.
    """
    counts = pack.present.sum(axis=1)
    if not counts.size or (counts == counts[0]).all():
        return pack
    order = np.argsort(counts, kind="stable")
    cells = [counts[order[i]] * (len(order) - i) for i in range(len(order))]
    first = int(np.argmax(cells))
    return at_amplitudes(pack, np.sort(order[first:])) if first else pack


def shared(grids: Sequence[np.ndarray]) -> np.ndarray:
    """Amplitudes that are in every grid, rising."""
    found = grids[0] if grids else np.empty(0)
    for grid in grids[1:]:
        found = found[places_of(grid, found)]
    return found


def comparable_grids(grids: Sequence[np.ndarray]) -> list[int]:
    """Which grids are compared at the amplitudes that all of them have.

    The one whose absence leaves most amplitudes is left out, as long as that makes grids × shared amplitudes larger
    and more than half of the grids, and two of them, are left. No result of an attack is looked at.
    """
    kept = list(range(len(grids)))
    while len(kept) > 2:
        rests = [[i for i in kept if i != out] for out in kept]
        best = max(rests, key=lambda rest: len(shared([grids[i] for i in rest])))
        fewer, now = (len(of) * len(shared([grids[i] for i in of])) for of in (best, kept))
        if fewer <= now or 2 * len(best) <= len(grids):
            break
        kept = best
    return kept


def repeats(other: OutcomeArrays, main: OutcomeArrays) -> bool:
    """Whether `other` is the main network trained once more: same cohort, whole training set, same grid, other seed."""
    a, b = other.header, main.header
    same = a.cohort == b.cohort and a.full and b.full and a.train_size == b.train_size and a.seed != b.seed
    return same and other.epsilons.tolist() == main.epsilons.tolist()


def evidence_of(
    records: Records, plan: AnalysisPlan | None = None, *, arm: str | None = None, step_size: str | None = None
) -> Evidence:
    """The store's evidence under its own plan, or under `plan`; `arm` and `step_size` replace the plan's.

    Raises SpecError where the plan names an arm or step size that is not recorded.
    """
    force = plan_in_force(records, plan)
    name = arm or force.arm
    if arm is None and records.arms and not decided_arm_recorded(records, plan):
        raise SpecError(
            f"analysis.arm: {name} decides, and no network is attacked by it yet; recorded: {', '.join(records.arms)}.",
            "Run the study to its end, or name a recorded arm in another plan.",
        )
    size = step_size or force.step_size(name)
    others = {other: _packs(records, other, None, primary=True) for other in records.arms if other != name}
    own = force.plan if arm is None and step_size is None else _elsewhere(force.plan, name, size)
    networks = _packs(records, name, size, primary=False)
    document = records.analysis
    if plan is not None or document is None or name != document.plan.arm:
        return Evidence(
            own,
            networks,
            others,
            force.prespecified,
            transfers=cohort_transfers(records, name, size),
            features=cohort_features(records, name, size),
        )
    kept, later = _as_planned(networks, document)
    series = [pack for pack in kept if not pack.header.full]
    unplanned = document.series_epsilons is not None and not document.series_epsilons and bool(series)
    planned = np.array(document.arm.epsilons)
    return Evidence(
        own,
        kept,
        others,
        force.prespecified,
        series_planned=not unplanned,
        added=frozenset(name for name in ("transfer", "features") if getattr(document, name) is False),
        later=later,
        transfers=tuple(transfer_as_planned(one, planned) for one in cohort_transfers(records, name, size)),
        features=tuple(features_as_planned(one, planned) for one in cohort_features(records, name, size)),
    )


def decided_arm_recorded(records: Records, plan: AnalysisPlan | None = None) -> bool:
    """Whether any network is attacked by the arm that the plan lets decide."""
    return plan_in_force(records, plan).arm in records.arms


def _as_planned(
    networks: tuple[OutcomeArrays, ...], document: AnalysisDocument
) -> tuple[tuple[OutcomeArrays, ...], tuple[float, ...]]:
    """The networks at the amplitudes that the plan in force states, and the recorded amplitudes beside them.

    A network with none of its amplitudes in the plan is kept as it is: it belongs to a series that was added later.
    """
    main, series = np.array(document.arm.epsilons), document.series_epsilons
    kept, later = [], set()
    for pack in networks:
        h = pack.header
        planned = [main] if h.full else []
        if not h.primary:
            planned.append(pack.epsilons if series is None and not h.full else np.array(series or ()))
        places = places_of(np.concatenate(planned), pack.epsilons)
        if len(places) in (0, len(pack.epsilons)):
            kept.append(pack)
            continue
        later |= set(pack.epsilons.tolist()) - set(pack.epsilons[places].tolist())
        kept.append(at_amplitudes(pack, places))
    return tuple(kept), tuple(sorted(later))


def transfer_as_planned(cohort: CohortTransfer, planned: np.ndarray) -> CohortTransfer:
    """The transfer at the amplitudes `planned` alone: one added later, nearer to the plan's, must not be judged in its
    place. As it is where it has none of them."""
    places = places_of(planned, cohort.epsilons)
    if len(places) in (0, len(cohort.epsilons)):
        return cohort
    found = {name: getattr(cohort, name)[:, :, places] for name in ("counted", "attacked", "noise")}
    return replace(cohort, epsilons=cohort.epsilons[places], **found)


def features_as_planned(cohort: CohortFeatures, planned: np.ndarray) -> CohortFeatures:
    """The distances at these amplitudes alone, likewise."""
    known = cohort.rows["epsilon"].unique().sort().to_numpy()
    places = places_of(planned, known)
    if len(places) in (0, len(known)):
        return cohort
    return replace(cohort, rows=cohort.rows.filter(pl.col("epsilon").is_in(known[places].tolist())))


def _elsewhere(plan: AnalysisPlan, arm: str, step_size: str | None) -> AnalysisPlan:
    """The plan with another arm and step size."""
    return plan.model_copy(update={"arm": arm, "step_size": step_size})


def _packs(records: Records, arm: str, step_size: str | None, *, primary: bool) -> tuple[OutcomeArrays, ...]:
    found = []
    for run in runs_of(records, arm, primary=primary):
        known = step_sizes(run)
        if step_size is not None and step_size not in (*known, "any"):
            raise SpecError(
                f"analysis.step_size: one of {', '.join(known)} ({run.header.cohort}, arm {arm}), got {step_size}.",
                "Name a recorded step size, or attack with this one first.",
            )
        found.append(load_outcomes(run, step_size or first_step_size(records, run)))
    return tuple(found)
