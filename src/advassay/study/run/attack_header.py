"""The header of a run, from what the earlier stages left in the store."""

from __future__ import annotations

from advassay.identity import ID_LENGTH
from advassay.records import Run, RunHeader, attack_rules, run_identity
from advassay.spec.attack_spec import Arm
from advassay.store_documents import Preparation, TrainingDocument
from advassay.store_layout import HEADER, Store
from advassay.study.gradient_counts import Point
from advassay.study.jobs import AttackJob


def trained_header(
    study: str, preparation: Preparation, training: TrainingDocument, assignment: AttackJob, *, primary: bool
) -> RunHeader:
    """Of a run on a network that this store trained."""
    return _header(study, preparation, training.classifier, assignment).model_copy(
        update={
            "architecture": training.architecture,
            "weights_sha256": training.weights_sha256,
            "train_size": training.train_size,
            "full": training.full,
            "primary": primary,
            "seed": training.seed,
        }
    )


def external_header(
    study: str, preparation: Preparation, architecture: str, weights_sha256: str, assignment: AttackJob
) -> RunHeader:
    """Of a run on a network that was brought along. The hash of its file names it, not what it says about itself."""
    return _header(study, preparation, weights_sha256[:ID_LENGTH], assignment).model_copy(
        update={"architecture": architecture, "weights_sha256": weights_sha256}
    )


def _header(study: str, preparation: Preparation, classifier: str, assignment: AttackJob) -> RunHeader:
    return RunHeader(
        run_id=run_identity(classifier=classifier, arm=assignment.arm, cohort_identity=preparation.identity),
        study=study,
        cohort=preparation.cohort,
        cohort_title=preparation.title,
        cohort_identity=preparation.identity,
        image_type=preparation.image_type,
        class_names=preparation.class_names,
        positive=preparation.positive,
        channels=preparation.channels,
        image_size_px=preparation.image_size_px,
        bits=preparation.bits,
        patients_known=preparation.patients_known,
        classifier=classifier,
        arm=assignment.arm_name,
        arm_position=assignment.arm_position,
        attack=attack_rules(assignment.arm),
        steps=assignment.arm.steps,
    )


def recorded_images(
    store: Store,
    preparation: Preparation,
    classifier: str,
    assignment: AttackJob,
    *,
    again: Arm | None = None,
    rerun_of: str | None = None,
) -> dict[Point, int]:
    """Point of the assignment's grid → images that the store has there; or in its re-run by the arm `again`."""
    run_id = run_identity(
        classifier=classifier,
        arm=again or assignment.arm,
        cohort_identity=preparation.identity,
        rerun_of=rerun_of,
    )
    if not (store.run(run_id) / HEADER).exists():
        return dict.fromkeys(assignment.points, 0)
    points = Run(store.run(run_id)).index.points()  # what the shards hold, whatever the header counted
    return {point: rows.stop - rows.start for point in assignment.points for rows in [points.get(point, slice(0, 0))]}
