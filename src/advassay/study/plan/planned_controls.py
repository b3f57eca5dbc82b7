"""What runs beside an arm: its controls, and the linked re-run of images that went numb; as rows of a plan.

How much of it is needed is known only when the arm has run: until then the rows say what it takes at most.
"""

from __future__ import annotations

from collections.abc import Iterator

from advassay.records import read_header, run_identity
from advassay.spec.study_spec import Study
from advassay.store_documents import Preparation
from advassay.store_layout import HEADER
from advassay.study.environment import RunEnvironment
from advassay.study.gradient_counts import control_steps, gradient_steps, missing_steps
from advassay.study.jobs import AttackJob, doubling_of
from advassay.study.plan.plan_rows import STEPS, PlanRow
from advassay.study.run.attack_header import recorded_images
from advassay.study.run.linked_rerun import gradient_masked_ids


def control_rows_unprepared(study: Study, attacked: PlanRow, images: int) -> Iterator[PlanRow]:
    """Rows beside an arm on the main network of a cohort that is not prepared; `attacked` is the arm's own row."""
    from advassay.attacks import linked_rerun

    attack = study.attack
    if not attack.controls:
        return
    arm = attack.arm(attacked.arm)
    yield _row("controls", attacked, control_steps(arm, min(images, attack.control_images)), 0, at_most=True)
    if (doubling := doubling_of(study, attacked.arm)) is not None:
        yield _row("doubling", attacked, doubling.gradient_steps(arm, images), 0, at_most=False)
    if (again := linked_rerun(arm)) is not None:
        yield _row("re-run", attacked, images * gradient_steps(again), 0, at_most=True)


def control_rows_prepared(
    site: RunEnvironment, preparation: Preparation, classifier: str, assignment: AttackJob, attacked: PlanRow
) -> Iterator[PlanRow]:
    """Rows beside a run of a prepared cohort, with what the store holds of them."""
    from advassay.attacks import linked_rerun

    if not assignment.controls:
        return
    run_id = run_identity(classifier=classifier, arm=assignment.arm, cohort_identity=preparation.identity)
    header = read_header(site.store.run(run_id)) if (site.store.run(run_id) / HEADER).exists() else None
    images = min(len(assignment.image_ids), assignment.control_images)
    steps = control_steps(assignment.arm, images)
    controlled = header is not None and header.controls is not None
    yield _row("controls", attacked, steps, steps if controlled else 0, at_most=True)
    if assignment.doubling is not None:
        images = len(assignment.image_ids)
        done = header is not None and assignment.doubling.is_done(header.controls, assignment.arm, images)
        steps = assignment.doubling.gradient_steps(assignment.arm, images)
        yield _row("doubling", attacked, steps, steps if done else 0, at_most=False)
    if (again := linked_rerun(assignment.arm)) is None:
        return
    settled = header is not None and not attacked.missing
    numb = (
        len(gradient_masked_ids(site, header, assignment))
        if header is not None and settled
        else len(assignment.image_ids)
    )
    total = numb * gradient_steps(again)
    recorded = recorded_images(site.store, preparation, classifier, assignment, again=again, rerun_of=run_id)
    missing = missing_steps(again, numb, recorded)
    yield _row("re-run", attacked, total, total - missing, at_most=not settled)


def _row(stage: str, attacked: PlanRow, total: int, have: int, *, at_most: bool) -> PlanRow:
    what = attacked.what + {"re-run": ", margin loss", "doubling": ", twice the iterations"}.get(stage, "")
    return PlanRow(stage, attacked.cohort, what, STEPS, total, have, attacked.basis, attacked.arm, at_most)
