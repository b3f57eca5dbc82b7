"""Which of a store's runs are current: those that its study.yaml asks for.

A study that is changed in the same store leaves runs of its earlier versions behind, and may be changed back: when a
run was last worked on says nothing. So each place of the study (cohort, arm, network) has the run whose identity
follows from study.yaml, the cohort's preparation and the network that was trained for it. The main network is one
place, whatever its seed and size: a study whose training seed was changed has one, not two.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from advassay.errors import AdvassayWarning
from advassay.records.run_header import RunHeader, run_identity
from advassay.spec.study_spec import Study, TrainingSpec
from advassay.store_documents import Preparation, TrainingDocument

Place = tuple[object, ...]
"""Cohort, arm and network: that it is the main one, or the seed of another main one, or a number of training images and
a seed."""


def current_runs(
    headers: Sequence[RunHeader],
    study: Mapping[str, Any],
    preparations: Mapping[str, Preparation],
    trainings: Sequence[TrainingDocument],
) -> set[str]:
    """run_ids of the declared runs that are current. `study`: study.yaml as plain data, empty where there is none.

    Where no run at a place of the study is quite what the study asks for (it was changed, and not attacked since), the
    one last worked on stays current, with a warning. Without a study, or with one of another version of the program,
    that one is taken everywhere.
    """
    by_time = sorted(headers, key=lambda header: header.updated)
    try:
        asked = _Asked(Study.model_validate(study), preparations, trainings)
    except ValidationError:
        return _latest(by_time)
    wanted = [header for header in by_time if asked.has_place(header)]
    exact = [header for header in wanted if asked.is_asked_for(header)]
    places = {_place(header): header.run_id for header in exact}
    others = [header for header in wanted if _place(header) not in places]
    kept = _latest(others)
    if kept:
        names = sorted({f"{header.cohort}, arm {header.arm}" for header in others if header.run_id in kept})
        warnings.warn(
            f"study.yaml was changed since these were attacked, the latest earlier run is shown: {'; '.join(names)}. "
            "Run `advassay attack` with the study again.",
            AdvassayWarning,
            stacklevel=5,
        )
    return set(places.values()) | kept


def current_transfers(
    headers: Sequence[RunHeader],
    study: Mapping[str, Any],
    preparations: Mapping[str, Preparation],
    trainings: Sequence[TrainingDocument],
) -> set[str]:
    """run_ids of the runs of transfer/ that the study asks for: its arm, its images, networks trained as it says.

    Without a study, or with one of another version of the program, those on each cohort's latest preparation.
    """
    try:
        asked = _Asked(Study.model_validate(study), preparations, trainings)
    except ValidationError:
        by_time = sorted(headers, key=lambda header: header.updated)
        latest = {header.cohort: header.cohort_identity for header in by_time}
        return {header.run_id for header in by_time if header.cohort_identity == latest[header.cohort]}
    return {header.run_id for header in headers if asked.is_transfer_asked_for(header)}


class _Asked:
    """What a study asks for, as far as headers and documents can tell."""

    def __init__(
        self, study: Study, preparations: Mapping[str, Preparation], trainings: Sequence[TrainingDocument]
    ) -> None:
        self._study, self._preparations = study, preparations
        self._trainings = {document.classifier: document for document in trainings}

    def has_place(self, header: RunHeader) -> bool:
        """Whether the study has the run's cohort, arm and network."""
        cohort = self._study.cohorts.get(header.cohort)
        if cohort is None or header.arm not in self._study.attack.arms:
            return False
        if header.primary or header.train_size is None:
            return True
        first = self._study.training.seed
        if header.full and header.seed in range(first + 1, first + cohort.seeds):
            return True  # one of the first seed that is not called primary was made by a study with another first seed
        if header.cohort not in self._preparations:
            return True  # without a preparation it is not known how many images a share of them is
        return header.train_size in self._sizes(header.cohort) and header.seed in cohort.train_seeds

    def _sizes(self, name: str) -> set[int]:
        """Numbers of training images of the cohort's size series."""
        training = self._training_images(name)
        return {round(s * training) if isinstance(s, float) else s for s in self._study.cohorts[name].train_sizes}

    def _training_images(self, name: str) -> int:
        found = self._preparations.get(name)
        return sum(found.counts.get("training", {}).values()) if found else 0

    def is_asked_for(self, header: RunHeader) -> bool:
        """Whether the run is what the study would make: same images, same attack, same training."""
        prepared = self._preparations.get(header.cohort)
        if prepared is not None and prepared.identity != header.cohort_identity:
            return False
        arm = self._study.attack.arm(header.arm)
        made = run_identity(classifier=header.classifier, arm=arm, cohort_identity=header.cohort_identity)
        return made == header.run_id and self._is_trained_so(header)

    def is_transfer_asked_for(self, header: RunHeader) -> bool:
        """Whether the study would make this run of transfer/."""
        study = self._study
        own = header.source_classifier == header.classifier
        if header.cohort not in study.cohorts or not (study.attack.transfer or (study.attack.features and own)):
            return False
        prepared, (name, arm) = self._preparations.get(header.cohort), study.transfer_arm()
        if prepared is not None and prepared.identity != header.cohort_identity:
            return False
        made = run_identity(
            classifier=header.classifier,
            arm=arm,
            cohort_identity=header.cohort_identity,
            source_classifier=header.source_classifier,
        )
        return (
            (header.arm, header.run_id) == (name, made)
            and self._takes_part(header, header.classifier, header.architecture)
            and self._takes_part(header, str(header.source_classifier), header.source_architecture)
        )

    def _takes_part(self, header: RunHeader, classifier: str, architecture: str) -> bool:
        """Whether a network is one of those that the study trains on the run's cohort."""
        training, cohort = self._study.training, self._study.cohorts[header.cohort]
        document = self._trainings.get(classifier)
        if document is None:
            return True  # trained elsewhere: of a store of which only the records are here
        if architecture not in (training.architectures or (training.architecture,)):
            return False
        main = document.full and document.seed in range(training.seed, training.seed + cohort.seeds)
        member = document.train_size in self._sizes(header.cohort) and document.seed in cohort.train_seeds
        return (main or member) and self._is_trained_so(header, classifier, architecture)

    def _is_trained_so(self, header: RunHeader, classifier: str = "", architecture: str | None = None) -> bool:
        """Whether the run's network was trained as the study says; an external one is what it is. `classifier` and
        `architecture`: another network of the run, of another architecture than the main one."""
        document = self._trainings.get(classifier or header.classifier)
        if document is None:
            return True
        asked = self._study.training.of(architecture)
        try:
            trained = TrainingSpec.model_validate(document.spec)
        except ValidationError:
            return True  # written by another version of the program: it cannot be told
        length = {"updates", "epochs"}
        images = self._training_images(header.cohort)
        same_length = not images or trained.updates_for(images) == asked.updates_for(images)
        return same_length and trained.model_dump(exclude=length) == asked.model_dump(exclude=length)


def _latest(by_time: Sequence[RunHeader]) -> set[str]:
    """Of each cohort the runs on its latest preparation; of those at one place the one last worked on."""
    prepared = {header.cohort: header.cohort_identity for header in by_time}
    kept = [header for header in by_time if header.cohort_identity == prepared[header.cohort]]
    return set({_place(header): header.run_id for header in kept}.values())


def _place(header: RunHeader) -> Place:
    if header.primary:
        return (header.cohort, header.arm, "main")
    return (header.cohort, header.arm, None if header.full else header.train_size, header.seed)
