"""What a study consists of: one job for each piece of work, listed once.

`plan` prices jobs, `status` counts them, a launcher runs them; none of them goes through the study itself. A job says
what the study asks for: which cohort, which network, which arm. So it is known before anything is prepared, it is the
same job in every process, and it can be pickled and sent to another one. What only the store knows (which images,
which network, which run) is in `inputs`, `outputs` and `costs`, as far as it is known when jobs are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advassay.identity import canonical_float, content_hash
from advassay.records import attack_rules, run_identity
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.spec.study_spec import AttackSpec, Study
from advassay.study.gradient_counts import Point, control_steps, gradient_steps
from advassay.study.path_privacy import split_absolute_path
from advassay.study.range_search import Search, searches
from advassay.study.run.doubling_control import DoublingPlan, doubling_plan
from advassay.study.study_networks import ExternalNetwork, Network, main_seeds, network_identity, networks

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort

Stage = Literal["prepare", "train", "range-finding", "attack", "controls", "re-run", "transfer", "features"]
PREPARE: Stage = "prepare"
TRAIN: Stage = "train"
RANGE_FINDING: Stage = "range-finding"
ATTACK: Stage = "attack"
CONTROLS: Stage = "controls"
RERUN: Stage = "re-run"
TRANSFER: Stage = "transfer"
FEATURES: Stage = "features"
ON_IMAGES = (TRANSFER, FEATURES)
"""Stages that attack once more, for what becomes of the attacked images: they have the images, which are not kept."""
ROUNDS: Mapping[Stage, int] = {
    PREPARE: 0,
    TRAIN: 1,
    RANGE_FINDING: 2,
    ATTACK: 3,
    CONTROLS: 3,
    RERUN: 3,
    TRANSFER: 4,
    FEATURES: 4,
}
"""Where one process does all jobs, it does them round by round, and in each in the order of the study."""

IMAGES, PASSES, STEPS, SCORED = "images", "training passes", "gradient steps", "images scored"
"""What is counted: training passes are images × updates; images scored are forward passes of a transfer."""


@dataclass(frozen=True)
class Cost:
    """What a job takes."""

    part: str
    """The job's stage; of controls also `doubling`, the attack of a sample for twice the iterations; of a transfer also
    `scoring`."""
    unit: str
    """IMAGES, PASSES, STEPS or SCORED."""
    total: int
    at_most: bool = False
    """`total` is an upper bound."""
    architecture: str | None = None
    """Of the network that does it; None = the study's main one."""


@dataclass(frozen=True)
class CohortFacts:
    """What is known of a cohort when jobs are listed."""

    training: int
    tuning: int
    validation: int
    """Images of each part, copies included."""
    cohort: PreparedCohort | None = None
    """The prepared cohort; None where the numbers come from rules or from the study itself."""
    start_weights: str | None = None
    """SHA-256 that stands for the file of start weights where that is not on this machine."""
    data: Path | None = None
    """Folder that start weights are looked for in."""

    @property
    def images(self) -> int:
        return self.training + self.tuning + self.validation


@dataclass(frozen=True)
class Job:
    """One piece of work. Two jobs are equal where they do the same for the same study."""

    id: str
    """Hash of what the study asks for: known before anything runs, the same in every process and at any time."""
    stage: Stage
    study: Study = field(repr=False, compare=False)
    cohort: str
    network: Network | ExternalNetwork | None = None
    arm: str = ""
    series: bool = False
    """Attacks a network of a size series: at the series' amplitudes, without controls."""
    waits_for: tuple[str, ...] = ()
    """Ids of the jobs that must be done before."""
    inputs: tuple[str, ...] = field(default=(), compare=False)
    outputs: tuple[str, ...] = field(default=(), compare=False)
    """Places in the store that it reads and writes, as far as they are known."""
    costs: tuple[Cost, ...] = field(default=(), compare=False)
    """Empty where not known: of a cohort of which nothing is known yet."""

    @property
    def what(self) -> str:
        """In words, without numbers of images."""
        if self.stage == PREPARE:
            return f"preparation of {self.cohort}"
        network = "" if self.network is None else self.network.name(0) if self.network.main else _member(self.network)
        if self.stage == TRAIN:
            return f"training of {self.cohort}, {network}"
        return f"{self.stage} of {self.cohort}, {network}, arm {self.arm}"

    @property
    def kin(self) -> str:
        """What jobs on one run have in common: they are best done by one process, which has the network loaded."""
        return self.waits_for[0] if self.stage in (CONTROLS, RERUN) else self.id

    def declared_arm(self, study: Study | None = None) -> Arm:
        """The arm as this job runs it; `study`: with amplitudes found, where the arm had to find them."""
        attack = (study or self.study).attack
        if self.stage in ON_IMAGES:
            return (study or self.study).transfer_arm()[1]
        return series_arm(attack)[1] if self.series else attack.arm(self.arm)

    def search(self) -> Search:
        """Of range-finding: what is tried."""
        return next(search for search in searches(self.study) if search.name == self.arm)


def _member(network: Network | ExternalNetwork) -> str:
    assert isinstance(network, Network)
    if network.main:
        return network.name(0)
    size = f"{network.size:g} of the training images" if network.is_share else f"{network.size} training images"
    other = "" if network.architecture is None else f"{network.architecture}, "
    return f"{other}{size}, seed {network.seed}"


# ---- the list -------------------------------------------------------------------------------------------------------


def enumerate_jobs(
    study: Study,
    facts: Mapping[str, CohortFacts] | None = None,
    *,
    amplitudes: Study | None = None,
    external: Mapping[str, Sequence[ExternalNetwork]] | None = None,
) -> tuple[Job, ...]:
    """Every piece of work of the study, cohort by cohort.

    `facts`: cohort → what is known of it. Jobs of that cohort then say what they cost and, where it is prepared, what
    they read and write; a network or run that an earlier job makes already is not listed again, nor are cohorts that
    are not in it. The ids do not depend on it. amplitudes: the study with those that were found for arms that declare
    `epsilons: auto`; attacks are priced by it. external: cohort → networks that are attacked on it, not trained.
    """
    names = list(study.cohorts) if facts is None else [name for name in study.cohorts if name in facts]
    more, priced = external or {}, amplitudes or study
    known: Mapping[str, CohortFacts | None] = dict.fromkeys(names) if facts is None else facts
    found = [_Lister(study, priced, name, known[name], more.get(name, ())) for name in names]
    ranges = tuple(job.id for one in found for job in one.ranges)
    return tuple(job for one in found for job in one.jobs(ranges))


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """In the order that one process does them in: all cohorts, then all networks, then amplitudes, then attacks."""
    return sorted(jobs, key=lambda job: ROUNDS[job.stage])


class _Lister:
    """Lists the jobs of one cohort."""

    def __init__(
        self,
        study: Study,
        priced: Study,
        cohort: str,
        facts: CohortFacts | None,
        external: Sequence[ExternalNetwork],
    ) -> None:
        self._study, self._priced, self._cohort, self._facts = study, priced, cohort, facts
        self._prepare = self._job(PREPARE, prepare_id(study, cohort))
        trains = study.cohorts[cohort].is_trained_on and (facts is None or facts.training > 0)
        self._networks = list(networks(study, cohort)) if trains else []
        self._external = list(external)
        self._on_images = [
            network for network in self._networks
            if study.attack.transfer or (study.attack.features and network.main)
        ]  # fmt: skip
        self._trained: dict[object, Job] = {}  # what tells networks apart → the job that trains it
        for network in self._networks:
            self._trained.setdefault(self._key(network), self._train(network))
        self.ranges = [self._range(search) for search in searches(study)] if trains else []

    def jobs(self, ranges: tuple[str, ...]) -> Iterator[Job]:
        """In the order of the study; `ranges`: range-finding of all cohorts, which every attack waits for."""
        yield self._prepare
        attacked: dict[tuple[object, str], frozenset[Point]] = {}
        last: dict[tuple[int, str], str] = {}  # (seed, arm) of a main network → its last job
        listed: set[str] = set()
        attacked_networks: list[Network | ExternalNetwork] = [*self._networks, *self._external]
        for network in attacked_networks:
            train = self._trained.get(self._key(network))
            if train is not None and train.id not in listed:
                yield train
                listed.add(train.id)
            if network.primary:
                yield from self.ranges
            if isinstance(network, Network) and network.architecture is not None:
                continue  # it takes part in transfer alone
            for arm in [series_arm(self._study.attack)[0]] if not network.main else self._study.attack.arms:
                attack = self._attack(network, arm, train, ranges)
                points = points_of(attack.declared_arm(self._priced))
                before = attacked.get((self._key(network), arm), frozenset())
                if not network.main and before >= points:
                    continue
                if (
                    isinstance(network, Network)
                    and attack.series
                    and network.seed in main_seeds(self._study, self._cohort)
                ):
                    # It may be the main network, and its run the main one's: which is then begun by the main arm.
                    attack = replace(attack, waits_for=(*attack.waits_for, last[network.seed, arm]))
                attacked[self._key(network), arm] = before | points
                jobs = [attack, *self._beside(attack)]
                if isinstance(network, Network) and network.main:
                    last[network.seed, arm] = jobs[-1].id
                yield from jobs
        yield from self._transfers(ranges)

    def _transfers(self, ranges: tuple[str, ...]) -> Iterator[Job]:
        """One job for each network that is attacked for the others, once all of them are trained."""
        known = {self._key(network): network for network in reversed(self._on_images)}
        different = [network for network in self._on_images if known[self._key(network)] is network]
        for network in different:
            yield self._transfer(network, different if self._study.attack.transfer else [network], ranges)

    def _transfer(self, source: Network, targets: Sequence[Network], ranges: tuple[str, ...]) -> Job:
        name, arm = self._priced.transfer_arm()
        trains = tuple(self._trained[self._key(network)].id for network in targets)
        costs, identities = self._transfer_costs(source, targets, arm), [*map(self._classifier, targets)]
        outputs: tuple[str, ...] = ()
        if self._facts is not None and self._facts.cohort is not None:
            cohort, own = self._facts.cohort.preparation.identity, str(self._classifier(source))
            runs = (
                run_identity(classifier=str(target), arm=arm, cohort_identity=cohort, source_classifier=own)
                for target in identities
            )
            outputs = tuple(f"transfer/{run}" for run in runs)
        attack = self._study.attack
        stage = TRANSFER if attack.transfer else FEATURES
        asked = [attack_rules(arm), bool(attack.features), *map(self._network_id, targets)]
        return self._job(
            stage,
            content_hash([stage, self._network_id(source), *asked]),
            network=source,
            arm=name,
            waits_for=(*trains, *ranges),
            inputs=(f"cohorts/{self._cohort}", *(f"classifiers/{one}" for one in identities if one is not None)),
            outputs=outputs,
            costs=costs,
        )

    def _transfer_costs(self, source: Network, targets: Sequence[Network], arm: Arm) -> tuple[Cost, ...]:
        """The attack on the source, and what networks of each architecture score: every image clean, attacked and with
        noise."""
        if self._facts is None:
            return ()
        images = attacked_images(arm, self._facts.validation)
        scored = images * (1 + 2 * len(points_of(arm)))
        of_kind = Counter(target.architecture for target in targets)
        attack = self._study.attack
        of_kind[source.architecture] += bool(attack.features)
        return (
            Cost(
                TRANSFER if attack.transfer else FEATURES,
                STEPS,
                images * gradient_steps(arm),
                architecture=source.architecture,
            ),
            *(Cost("scoring", SCORED, scored * number, architecture=kind) for kind, number in of_kind.items()),
        )

    def _key(self, network: Network | ExternalNetwork) -> object:
        """Equal for networks that are known to be one."""
        if isinstance(network, ExternalNetwork) or self._facts is None:
            return (
                network if isinstance(network, ExternalNetwork) else (network.size, network.seed, network.architecture)
            )
        if self._facts.cohort is None:
            return (network.images(self._facts.training), network.seed, network.architecture)
        return self._classifier(network)

    def _classifier(self, network: Network | ExternalNetwork) -> str | None:
        """The network's identity, where it is known."""
        if isinstance(network, ExternalNetwork):
            return network.identity
        facts = self._facts
        if facts is None or facts.cohort is None:
            return None
        return network_identity(self._study, facts.cohort, network, facts.data, facts.start_weights)

    def _job(self, stage: Stage, identity: str, **more: object) -> Job:
        facts = self._facts
        places = {"outputs": (f"cohorts/{self._cohort}",)} if stage == PREPARE else {}
        costs = (Cost(stage, IMAGES, facts.images),) if stage == PREPARE and facts is not None else ()
        return Job(identity, stage, self._study, self._cohort, **({"costs": costs} | places | more))  # type: ignore[arg-type]

    def _network_id(self, network: Network | ExternalNetwork) -> str:
        """What the study asks for with a network, as one identity."""
        if isinstance(network, ExternalNetwork):
            return content_hash([self._prepare.id, network.identity])
        spec = self._study.training.of(network.architecture).model_dump(mode="json")
        return content_hash([TRAIN, self._prepare.id, spec, network.size, network.seed])

    def _train(self, network: Network) -> Job:
        study, classifier = self._study, self._classifier(network)
        costs: tuple[Cost, ...] = ()
        if self._facts is not None:
            passes = study.training.updates_for(self._facts.training) * study.training.batch_size
            costs = (Cost(TRAIN, PASSES, passes, architecture=network.architecture),)
        return self._job(
            TRAIN,
            self._network_id(network),
            network=network,
            waits_for=(self._prepare.id,),
            inputs=self._prepare.outputs,
            outputs=() if classifier is None else (f"classifiers/{classifier}",),
            costs=costs,
        )

    def _range(self, search: Search) -> Job:
        network = self._networks[0]
        train = self._trained[self._key(network)]
        costs: tuple[Cost, ...] = ()
        if self._facts is not None:
            images = min(self._facts.tuning, search.images)
            costs = (Cost(RANGE_FINDING, STEPS, images * search.gradient_steps, at_most=True),)
        return self._job(
            RANGE_FINDING,
            content_hash([RANGE_FINDING, self._network_id(network), search.request("", "")]),
            network=network,
            arm=search.name,
            waits_for=(train.id,),
            inputs=(*train.inputs, *train.outputs),
            outputs=("range_finding.json",),
            costs=costs,
        )

    def _attack(self, network: Network | ExternalNetwork, name: str, train: Job | None, ranges: tuple[str, ...]) -> Job:
        attack = self._priced.attack
        arm = attack.arm(name) if network.main else series_arm(attack)[1]
        before = self._prepare.id if train is None else train.id
        classifier, facts = self._classifier(network), self._facts
        costs: tuple[Cost, ...] = ()
        outputs: tuple[str, ...] = ()
        if facts is not None:
            costs = (Cost(ATTACK, STEPS, attacked_images(arm, facts.validation) * gradient_steps(arm)),)
            if facts.cohort is not None and classifier is not None:
                cohort = facts.cohort.preparation.identity
                outputs = (f"records/{run_identity(classifier=classifier, arm=arm, cohort_identity=cohort)}",)
        return self._job(
            ATTACK,
            content_hash([ATTACK, self._network_id(network), attack_rules(arm), not network.main]),
            network=network,
            arm=name,
            series=not network.main,
            waits_for=(before, *ranges),
            inputs=(f"cohorts/{self._cohort}", *([] if classifier is None else [f"classifiers/{classifier}"])),
            outputs=outputs,
            costs=costs,
        )

    def _beside(self, attack: Job) -> Iterator[Job]:
        """The jobs beside a main network's run: its controls, and its linked re-run."""
        from advassay.attacks import linked_rerun

        study = self._priced
        arm = study.attack.arm(attack.arm)
        if attack.series or not study.attack.controls or UPDATE_RULES.get(arm.update).searches:
            return
        doubling = doubling_of(study, attack.arm)
        again = linked_rerun(arm)
        costs: tuple[Cost, ...] = ()
        images = 0 if self._facts is None else attacked_images(arm, self._facts.validation)
        if self._facts is not None:
            costs = (Cost(CONTROLS, STEPS, control_steps(arm, min(images, study.attack.control_images)), at_most=True),)
            if doubling is not None:
                costs += (Cost("doubling", STEPS, doubling.gradient_steps(arm, images)),)
        common = {"network": attack.network, "arm": attack.arm, "inputs": (*attack.inputs, *attack.outputs)}
        yield self._job(
            CONTROLS, content_hash([CONTROLS, attack.id]), **common,
            waits_for=(attack.id,), outputs=attack.outputs, costs=costs,
        )  # fmt: skip
        if again is None:
            return
        total = () if self._facts is None else (Cost(RERUN, STEPS, images * gradient_steps(again), at_most=True),)
        outputs: tuple[str, ...] = ()
        if attack.outputs:
            assert self._facts is not None
            assert self._facts.cohort is not None
            identity = self._facts.cohort.preparation.identity
            run_id, classifier = attack.outputs[0].removeprefix("records/"), self._classifier(attack.network)  # type: ignore[arg-type]
            linked = run_identity(classifier=str(classifier), arm=again, cohort_identity=identity, rerun_of=run_id)
            outputs = (f"records/{linked}",)
        yield self._job(
            RERUN, content_hash([RERUN, attack.id]), **common, waits_for=(attack.id,), outputs=outputs, costs=total
        )


def prepare_id(study: Study, cohort: str) -> str:
    """Identity of a cohort's preparation: what the study asks for, whatever folder the source lies in."""
    from advassay.cohorts.preparation_json import request_hash

    spec = study.cohorts[cohort]
    source, _ = split_absolute_path(study.sources[spec.source], None)
    return content_hash([PREPARE, cohort, request_hash(spec, source, study.size_of(cohort), study.seed)])


# ---- what a study asks for ----------------------------------------------------------------------------------------


def series_arm(attack: AttackSpec) -> tuple[str, Arm]:
    """The name of the arm that attacks the training-size series, and that arm at the series' amplitudes."""
    name = attack.series_arm or next(iter(attack.arms))
    arm = attack.arm(name)
    return name, arm if attack.series_epsilons is None else arm.model_copy(update={"epsilons": attack.series_epsilons})


def doubling_of(study: Study, arm: str) -> DoublingPlan | None:
    """The control with twice the iterations beside this arm; None where the study has none."""
    return doubling_plan(study.attack, study.resolved_analysis(), arm, len(study.cohorts))


def attacked_images(arm: Arm, validation: int) -> int:
    """Images that the arm attacks, of `validation` images."""
    return min(validation, arm.images or validation)


def points_of(arm: Arm) -> frozenset[Point]:
    """The arm's grid: (step size's name, ε)."""
    epsilons = [canonical_float(epsilon) for epsilon in arm.epsilons]
    return frozenset((step_size_name(rule), epsilon) for rule in arm.step_sizes for epsilon in epsilons)
