"""A run, and beside it the linked re-run of images whose gradient was rounded away.

Where a softmax loss saturates, an image may stand for a purely numerical reason. Those images are attacked again
with the margin loss, as a run of its own that never overwrites the declared one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from advassay.records import Run, RunHeader, attack_rules, run_identity
from advassay.records.row_shards import FLAG
from advassay.spec.attack_spec import Arm
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import AttackJob
from advassay.study.run.attack_job import ClassifierLoader, attack_cohort
from advassay.study.run.execution_config import WorkloadSize

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


def attack_with_rerun(
    load: ClassifierLoader,
    cohort: PreparedCohort,
    header: RunHeader,
    assignment: AttackJob,
    site: RunEnvironment,
    *,
    touch: bool = False,
    work: WorkloadSize | None = None,
) -> RunHeader:
    """Attack what the run lacks, then again what went numb, where the arm has controls. Returns the run's header."""
    from advassay.attacks import linked_rerun

    done = attack_cohort(load, cohort, header, assignment, site, touch=touch, work=work)
    again = linked_rerun(assignment.arm) if assignment.controls else None
    if again is not None and (numb := gradient_masked_ids(site, done, assignment)):
        second = replace(assignment, arm=again, image_ids=numb, gallery_ids=frozenset(), controls=False, doubling=None)
        attack_cohort(load, cohort, rerun_header(header, again), second, site)
    return done


def gradient_masked_ids(site: RunEnvironment, header: RunHeader, assignment: AttackJob) -> tuple[str, ...]:
    """Images of the assignment whose gradient vanished or whose probability rounded to 1, in the sample's order."""
    from advassay.attacks.masked_gradient_rerun import GRADIENT_MASKED

    if not any(header.flag_counts.get(flag) for flag in GRADIENT_MASKED):
        return ()
    run = Run(site.store.run(header.run_id))
    known = [run.column(FLAG + flag) for flag in GRADIENT_MASKED if flag in run.index.flags]
    numb = run.index.image[np.logical_or.reduce(known)] if known else run.index.image[:0]
    flagged = set(run.images["image_id"].gather(np.unique(numb)).to_list())
    return tuple(image_id for image_id in assignment.image_ids if image_id in flagged)


def rerun_header(header: RunHeader, arm: Arm) -> RunHeader:
    """The header of the linked run, from the declared one's before it ran."""
    run_id = run_identity(
        classifier=header.classifier, arm=arm, cohort_identity=header.cohort_identity, rerun_of=header.run_id
    )
    return header.model_copy(update={"run_id": run_id, "attack": attack_rules(arm), "rerun_of": header.run_id})
