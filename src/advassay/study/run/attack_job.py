"""One run: a classifier attacked by one arm, stored as it comes, continued where it stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from advassay.errors import StoreError
from advassay.identity import canonical_float
from advassay.progress import Progress, Silent, timed_task
from advassay.records import Account, Run, RunHeader, RunWriter, read_header
from advassay.records.row_shards import FLAG
from advassay.records.run_header import cost_since
from advassay.records.run_writer import of_other_weights
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.store_documents import ComputeShape, Controls, Doubling
from advassay.store_layout import HEADER
from advassay.study.environment import RelabelledProgress, RunEnvironment
from advassay.study.gradient_counts import reach_notes, steps_at
from advassay.study.jobs import AttackJob
from advassay.study.run.doubling_control import count_doubling
from advassay.study.run.execution_config import WorkloadSize, compute_shape
from advassay.study.run.gallery_selection import Gallery, Points
from advassay.study.run.subgroup_columns import subgroup_columns, subgroup_notes
from advassay.study.upkeep.superseded_runs import set_aside_other_network
from advassay.success import has_succeeded
from advassay.trajectory import Cost, TrajectoryRows

if TYPE_CHECKING:
    from advassay.attacks import AttackStream, Item
    from advassay.attacks.engine.preflight_cache import ModelCache, PreflightCache
    from advassay.classifier import Classifier
    from advassay.cohorts import PreparedCohort


class ClassifierLoader(Protocol):
    """Gives a classifier when called, the same one each time."""

    shared: ModelCache | None
    """What attacks on it share; known once it has been called."""

    def __call__(self) -> Classifier: ...


def attack_cohort(
    load: ClassifierLoader,
    cohort: PreparedCohort,
    header: RunHeader,
    assignment: AttackJob,
    site: RunEnvironment,
    *,
    touch: bool = False,
    work: WorkloadSize | None = None,
) -> RunHeader:
    """Attack what the run still lacks; `load` gives the classifier and is called only where something does.

    `work`: of all runs of its kind that are to come, which a first run chooses the compute shape for (default: itself).
    `touch`: reopen the run even when it is complete, so that it counts again as its place's current one.
    Returns the header as it stands afterwards.
    """
    gallery = Gallery(site.store, header, assignment, cohort)
    done = is_complete(site, header, assignment) and _knows_patients(site, header, cohort, assignment)
    if not touch and done and not gallery.missing():
        return read_header(site.store.run(header.run_id))
    classifier, arm = load(), assignment.arm
    shared = load.shared
    shape = compute_shape(
        classifier,
        cohort.images(assignment.image_ids[:1])[0],
        architecture=header.architecture,
        precision=arm.precision,
        site=site,
        work=work or WorkloadSize(assignment),
    )
    began_anew = set_aside_other_network(site.store, header)
    notes = (began_anew,) if began_anew else ()
    writer = RunWriter(site.store.run(header.run_id), header.model_copy(update={"compute": shape, "notes": notes}))
    writer.add_images(_images(cohort, assignment, writer.unknown_images()))
    rest, late = _attack_missing(writer, classifier, cohort, assignment, shape, gallery, site, shared)
    if lacking := gallery.missing():  # asked for after the attack had run: the same images once more, not stored twice
        for block in _stream(classifier, cohort, lacking, assignment, shape, gallery, Silent(), writer.header, shared):
            gallery.write(block)
    controls = writer.header.controls
    if controls is None and assignment.controls:
        with timed_task(site.progress, f"controls of {_name(header)}"):
            run = Run(site.store.run(header.run_id))
            controls = _controls(classifier, cohort, assignment, shape, run, _known(shared, writer.header))
    if controls is not None and _lacks_doubling(controls, assignment):
        doubling = _doubling(classifier, cohort, assignment, shape, site, writer.header, _known(shared, writer.header))
        controls = controls.model_copy(update={"doubling": doubling})
    told = [*reach_notes(header.arm, arm), *subgroup_notes(cohort.manifest, assignment.subgroups)]
    note = account_note(writer.total(), undecided_images(Run(site.store.run(header.run_id))))
    return writer.finish(rest, controls, account_note=note, notes=[*told, *late])


def _attack_missing(
    writer: RunWriter,
    classifier: Classifier,
    cohort: PreparedCohort,
    assignment: AttackJob,
    shape: ComputeShape,
    gallery: Gallery,
    site: RunEnvironment,
    shared: ModelCache | None,
) -> tuple[Cost, list[str]]:
    """Attack what the run lacks, block by block, each stored with its account. Returns what no block accounts for:
    cost, and the notes that came after the last one.
    """
    missing = writer.missing(assignment.image_ids, assignment.points)
    if not missing:
        return Cost(), []
    told = RelabelledProgress(site.progress, _task(writer.header), _steps(missing, assignment.arm))
    stream = _stream(classifier, cohort, missing, assignment, shape, gallery, told, writer.header, shared)
    before = Cost()
    for block in stream:
        writer.keep_steering(stream.known.band, stream.known.held)
        gallery.write(block)
        writer.append(block, _account(stream, before))
        before = replace(stream.cost)
    late = [note for note in stream.notes if not note.startswith(OF_A_SESSION)]
    return Cost(**cost_since(stream.cost, before)), late  # type: ignore[arg-type]


OF_A_SESSION = ("nan: ", "float32 judged ")
"""How notes begin that count what one session saw; the run's own count is in its account's sentence."""


MEASURED = ("largest", "start", "widest")
"""Of the comparisons with float32: the largest of all blocks counts, the other numbers are summed."""


def _account(stream: AttackStream, before: Cost) -> Account:
    """What the stream's latest block took and showed."""
    compared = {} if stream.compared is None else asdict(stream.compared)
    return Account(
        **cost_since(stream.cost, before),
        notes=tuple(stream.notes),
        counts={name: int(value) for name, value in compared.items() if name not in MEASURED},
        largest={name: float(value) for name, value in compared.items() if name in MEASURED},
    )


def account_note(total: Account, undecided: int) -> str:
    """What is counted over the whole run, in words: images without a decision, and how steering compared with float32;
    "" where there is neither.
    """
    from advassay.attacks.engine.float32_verifier import Comparisons

    nan = (
        f"nan: {undecided} images have NaN logits at some iterate. They are neither success nor robustness there and "
        "leave both denominators; flag_nan says which."
    )
    told = [nan] if undecided else []
    if total.counts:
        told.append(Comparisons(**total.counts, **total.largest).summary())  # type: ignore[arg-type]
    return " ".join(told)


def undecided_images(run: Run) -> int:
    """Images with a NaN logit at some iterate of some row, counted from what is stored."""
    if "nan" not in run.index.flags:
        return 0
    return int(np.unique(run.index.image[run.column(f"{FLAG}nan")]).size)


def is_complete(site: RunEnvironment, header: RunHeader, assignment: AttackJob) -> bool:
    """Does the store hold the run with all points, images and controls, described as it is now?

    Counting images is enough: of one prepared cohort a larger sample contains every smaller one.
    """
    folder = site.store.run(header.run_id)
    if not (folder / HEADER).exists():
        return False
    try:
        run = Run(folder)
        kept, index = run.header, run.index  # what the shards hold: the header's counts outlive a damaged shard
        accounts = run.accounts().values()
    except StoreError:  # a damaged header or images.parquet: the writer mends it
        return False
    if run.damaged or of_other_weights(kept, header):
        return False
    counted = any(account.counts for account in accounts) or bool(kept.flag_counts.get("nan"))
    finished = kept.rows == len(index) and bool(kept.account_note) == counted
    counts = {point: rows.stop - rows.start for point, rows in index.points().items()}
    recorded = all(
        counts.get((name, canonical_float(e)), 0) >= len(assignment.image_ids) for name, e in assignment.points
    )
    controlled = not assignment.controls or not (kept.controls is None or _lacks_doubling(kept.controls, assignment))
    return finished and recorded and controlled and _described(kept) == _described(header)


def _knows_patients(site: RunEnvironment, header: RunHeader, cohort: PreparedCohort, assignment: AttackJob) -> bool:
    """Does the run know its images' patients and groups as they are now? Another patient column or key changes the
    clusters.
    """
    columns = [name for name in ("image_id", "patient_id", "has_patient") if name in cohort.manifest]
    groups, _ = subgroup_columns(cohort.manifest, assignment.subgroups)
    now = cohort.manifest.select(columns).join(groups, on="image_id")
    now = now.filter(pl.col("image_id").is_in(list(assignment.image_ids)))
    kept = Run(site.store.run(header.run_id)).images
    if not set(now.columns) <= set(kept.columns):
        return False
    return now.join(kept.select(now.columns), on=now.columns, how="anti", nulls_equal=True).is_empty()


def _described(header: RunHeader) -> tuple[object, ...]:
    """What may change about a run without changing its numbers."""
    return (
        header.study,
        header.arm,
        header.arm_position,
        header.cohort,
        header.cohort_title,
        header.patients_known,
        *_asked(header),
    )


def _asked(header: RunHeader) -> tuple[object, ...]:
    """What the run's numbers are taken to say."""
    return (header.primary, header.positive, header.class_names, header.image_type, header.full, header.train_size)


def _task(header: RunHeader) -> str:
    """The run's name in progress."""
    again = " again, margin loss" if header.rerun_of else ""
    return f"attack {_name(header)}{again}"


def _name(header: RunHeader) -> str:
    return f"{header.cohort}, {_network(header)}, arm {header.arm}"


def _network(header: RunHeader) -> str:
    if header.train_size is None:
        return header.architecture
    return f"{header.train_size} training images" + ("" if header.primary else f", seed {header.seed}")


def _stream(
    classifier: Classifier,
    cohort: PreparedCohort,
    missing: Mapping[str, Points],
    assignment: AttackJob,
    shape: ComputeShape,
    gallery: Gallery,
    progress: Progress,
    header: RunHeader,
    shared: ModelCache | None,
) -> AttackStream:
    """The attack on the missing points. What it says of the network, and how much of it is audited, follows from the
    whole assignment: a run that was stopped and goes on tells the same as one that was not.
    """
    from advassay.attacks.engine.preflight import FIRST_IMAGES
    from advassay.attacks.stream import stream

    first = dict.fromkeys(assignment.image_ids[:FIRST_IMAGES], assignment.points)
    return stream(
        classifier,
        _items(cohort, missing),
        assignment.arm,
        shape=shape,
        keep_images=gallery.wants,
        progress=progress,
        expected_images=len(assignment.image_ids),
        known=_known(shared, header),
        examined=list(_items(cohort, first)),
    )


def _known(shared: ModelCache | None, header: RunHeader) -> PreflightCache:
    """What is known of the network before the run goes on."""
    from advassay.attacks.engine.preflight_cache import ModelCache, PreflightCache

    return PreflightCache(shared or ModelCache(), band=header.band, held=header.held)


def _items(cohort: PreparedCohort, missing: Mapping[str, Points]) -> Iterator[Item]:
    from advassay.attacks import Item

    for image_id, image, label in cohort.stream(list(missing)):
        yield Item(image_id, image, label, missing[image_id])


def _steps(missing: Mapping[str, Points], arm: Arm) -> int:
    """Gradient steps that the missing points take."""
    return sum(images * steps_at(arm, points) for points, images in Counter(missing.values()).items())


def _images(cohort: PreparedCohort, assignment: AttackJob, unknown: Sequence[str]) -> pl.DataFrame:
    """The attacked images as records know them, and `unknown` ones that records have rows of; columns with paths or
    original ids never get here."""
    known = set(cohort.manifest["image_id"])
    ids = list(dict.fromkeys((*assignment.image_ids, *(image_id for image_id in unknown if image_id in known))))
    contrast = [clean_contrast(image) for _, image, _ in cohort.stream(ids)]
    wanted = pl.DataFrame({"image_id": ids, "clean_contrast": contrast})
    columns = [c for c in ("image_id", "label", "patient_id", "has_patient", "parent_image_id") if c in cohort.manifest]
    groups, _ = subgroup_columns(cohort.manifest, assignment.subgroups)
    told = cohort.manifest.select(columns).join(groups, on="image_id")
    return wanted.join(told, on="image_id", how="left", maintain_order="left")


def clean_contrast(image: np.ndarray) -> float:
    """Standard deviation over pixels of a clean image's grey value (mean of its channels).

    `image`: float32 (channel, height, width) in [0, 1]. The result is in [0, 0.5].
    """
    return float(image.mean(axis=0, dtype=np.float64).std())


def _controls(
    classifier: Classifier,
    cohort: PreparedCohort,
    assignment: AttackJob,
    shape: ComputeShape,
    run: Run,
    known: PreflightCache,
) -> Controls:
    from advassay.attacks import run_controls

    ids = list(assignment.image_ids[: assignment.control_images])
    images, labels, arm = cohort.images(ids), cohort.labels(ids), assignment.arm
    felled = _felled(run, arm, ids)
    return run_controls(classifier, images, labels, ids, arm, shape=shape, seed=arm.seed, declared=felled, known=known)


def _lacks_doubling(controls: Controls, assignment: AttackJob) -> bool:
    plan, images = assignment.doubling, len(assignment.image_ids)
    return plan is not None and not plan.is_done(controls, assignment.arm, images)


def _doubling(
    classifier: Classifier,
    cohort: PreparedCohort,
    assignment: AttackJob,
    shape: ComputeShape,
    site: RunEnvironment,
    header: RunHeader,
    known: PreflightCache,
) -> Doubling:
    """Attack the sample for twice the iterations. In the run's own shape its first K iterates are the run's."""
    from advassay.attacks.stream import stream

    plan = assignment.doubling
    assert plan is not None
    images = len(assignment.image_ids)
    arm = plan.arm(assignment.arm, images)
    points = frozenset((step_size_name(plan.step_size), epsilon) for epsilon in arm.epsilons)
    sample = dict.fromkeys(assignment.image_ids[: plan.sample(assignment.arm, images)], points)
    told = RelabelledProgress(site.progress, f"controls of {_name(header)}, twice the iterations", _steps(sample, arm))
    items, n = _items(cohort, sample), len(sample)
    blocks = list(stream(classifier, items, arm, shape=shape, progress=told, expected_images=n, known=known))
    return count_doubling(
        Run(site.store.run(header.run_id)), TrajectoryRows.concatenate(blocks), arm, assignment.arm_name
    )


def _felled(run: Run, arm: Arm, image_ids: Sequence[str]) -> dict[float, set[str]]:
    """ε → images of the sample that the recorded run felled at its last iterate, at the arm's first step size, without
    restarts. The keys are the arm's own ε: records keep 12 digits of it, so that 5/255 is not found as it is written.
    """
    ids, points = run.images["image_id"].to_numpy(), run.index.points()
    sample = np.isin(ids, list(image_ids))
    logits, label, target = (run.column(name) for name in ("logits", "label", "target"))
    felled: dict[float, set[str]] = {}
    for epsilon in arm.epsilons:
        rows = points.get((step_size_name(arm.step_sizes[0]), canonical_float(epsilon)), slice(0, 0))
        kept = np.arange(rows.start, rows.stop)[sample[run.index.image[rows]]]
        aim = target[kept] if arm.targeted else None
        down = has_succeeded(logits[kept].swapaxes(0, 1), label[kept], targets=aim)[-1]
        felled[epsilon] = set(ids[run.index.image[kept[down]]].tolist())
    return felled
