"""Results of `attack` and `sweep` into a store: from there they reach every table, interval and page.

What a store keeps of a run is what the result holds, and what the caller says of images and network; nothing else is
filled in: no study, no preparation and no controls, and the page says that they are missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from advassay.errors import InputError, SpecError, StoreError
from advassay.identity import ID_LENGTH, canonical_float, content_hash, image_id, pseudonym
from advassay.record_columns import COLUMNS, PATH_COLUMNS
from advassay.records import Example, RunHeader, RunWriter, attack_rules, read_header, run_identity, write_example
from advassay.records.run_reader import same_logits
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.store_layout import Store
from advassay.study.config.name_checks import store_at
from advassay.study.run.attack_job import clean_contrast
from advassay.study.store_locks import store_lock
from advassay.success import predicted, probabilities
from advassay.trajectory import Sweep, Trajectory, TrajectoryRows
from advassay.workflows.array_images import EIGHT_BIT
from advassay.workflows.evaluated_model import content_sha256
from advassay.workflows.evaluation_result import EvaluationResult
from advassay.workflows.evaluation_study import positive_class_of
from advassay.workflows.image_source import plain_name

if TYPE_CHECKING:
    from advassay.classifier import Classifier

Result = Sweep | Trajectory
ORIGIN = 4
"""Images at either end whose clean logits are computed again, to see that images and classifier are the results'."""
KEPT = 2
"""Images of each class of which a Trajectory's adversarial images are kept for figures."""


def store_results(
    results: Result | Mapping[str, Result],
    images: Any,
    *,
    store: str | os.PathLike[str],
    classifier: Classifier,
    class_names: Sequence[str] | None = None,
    patients: Sequence[str] | None = None,
    cohort: str = "images",
    image_type: str = "",
    positive: str | None = None,
    gallery: bool = True,
    key_file: str | os.PathLike[str] | None = None,
) -> EvaluationResult:
    """Write results of `attack` and `sweep` into a store and return its numbers with their intervals.

    `results`: a Sweep or a Trajectory; or several, arm name → result, of the same images: the first one is the main
    arm. `images`: those that were attacked, float32 (image, channel, height, width) in [0, 1], in the same order.
    `classifier`: the one that was attacked; its content names it in the records. `class_names`: in the order of the
    logits; those of the classifier, or their numbers, if not given. `patients`: one an image, for intervals by patient;
    they are kept as pseudonyms under the key in `key_file`. `cohort`: what the images are called; `image_type`: X-ray,
    histology, …. `positive`: the class whose detection is sensitivity. `gallery`: keep a few images of a Trajectory.

    Images are named by their content, whatever ids the result has; one that occurs twice is refused. The same results
    stored again change nothing; further amplitudes and images of the same cohort are added to their run. Then:
    `advassay report STORE`.
    Raises InputError for images or a classifier that do not give the results' clean logits and for results of
    `first_success_only`, whose last iterates are unknown; SpecError for names that do not fit, StoreError for rows of
    another network.

    >>> import tempfile, torch, advassay as aa
    >>> network = aa.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)))
    >>> images = torch.rand(6, 1, 4, 4)
    >>> labels = network(images).argmax(1)
    >>> found = aa.sweep(network, images, labels, aa.PGD(0.1, "epsilon/4", steps=4), epsilons=[0.1, 0.2])
    >>> store_results(found, images, store=tempfile.mkdtemp() + "/mine", classifier=network).accuracy.n
    6
    """
    from advassay.sources.pseudonyms import pseudonym_key

    arms = {"A": results} if isinstance(results, Sweep | Trajectory) else dict(results)
    if not arms:
        raise SpecError("results: expected one or more, got none.", "Give what attack or sweep returned.")
    pixels = _pixels(images, arms)
    for name, found in arms.items():
        _check_whole(name, found)
    ids = _content_ids(pixels)
    for name, found in arms.items():
        _check_origin(name, found, pixels, classifier)
    sha256 = content_sha256(classifier)
    first = next(iter(arms.values()))
    names = _class_names(class_names or classifier.class_names, first.logits.shape[-1])
    if any(not np.array_equal(found.labels, first.labels) for found in arms.values()):
        raise InputError("results: of one cohort, got different labels.", "Store each in a store of its own.")
    known = patients is not None
    key = pseudonym_key(None if key_file is None else Path(key_file), cohort) if known else b""
    if known and len(patients) != len(pixels):  # type: ignore[arg-type]
        raise InputError(
            f"patients: expected one an image, {len(pixels)}, got {len(patients)}.",  # type: ignore[arg-type]
            "Repeat a patient for each of its images.",
        )
    people = [pseudonym(key, str(one)) for one in patients] if patients is not None else ids
    table = pl.DataFrame(
        {
            "image_id": ids,
            "label": first.labels.astype(np.int64),
            "patient_id": people,
            "has_patient": [known] * len(ids),
            "clean_contrast": [clean_contrast(image) for image in pixels],
        }
    )
    bits = _bits(pixels)
    described = {
        "cohort": plain_name(cohort),
        "cohort_title": cohort,
        # Not of its images: those of a later call belong to the same cohort.
        "cohort_identity": content_hash(["results", plain_name(cohort), *names, *pixels.shape[1:], known]),
        "image_type": image_type,
        "class_names": names,
        "positive": positive_class_of(names, positive)[0],
        "channels": pixels.shape[1],
        "image_size_px": pixels.shape[2],
        "bits": bits,
        "patients_known": known,
        "classifier": sha256[:ID_LENGTH],
        "architecture": type(classifier.module).__name__,
        "weights_sha256": sha256,
    }
    place = store_at(Path(store))
    with store_lock(place):
        for position, (arm, found) in enumerate(arms.items()):
            rules = _arm(found)
            header = RunHeader(
                run_id=run_identity(
                    classifier=sha256[:ID_LENGTH], arm=rules, cohort_identity=described["cohort_identity"]
                ),
                arm=arm, arm_position=position, attack=attack_rules(rules),
                steps=UPDATE_RULES.get(rules.update).recorded_steps(rules.steps), **described,
            )  # fmt: skip
            _check_people(place, header)
            writer = RunWriter(place.run(header.run_id), header)
            before = len(writer.counts.keys)
            writer.add_images(table)
            for block in _blocks(found, ids):
                writer.append(block)
            new = len(writer.counts.keys) > before
            writer.finish(found.cost if new else None, notes=found.notes)
            if gallery and isinstance(found, Trajectory):
                _keep(place.gallery, header, found, pixels, ids)
    return EvaluationResult(place.root, notes=tuple(dict.fromkeys(n for one in arms.values() for n in one.notes)))


# ---- images ---------------------------------------------------------------------------------------------------------


def _pixels(images: Any, arms: Mapping[str, Result]) -> np.ndarray:
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"images: expected floats (image, channel, height, width) in [0, 1], got {array.dtype} {array.shape}.",
            "Give the images that were attacked, as attack and sweep took them.",
        )
    if array.shape[2] != array.shape[3]:
        raise InputError(
            f"images: expected squares, as every prepared image is, got {array.shape[2]} × {array.shape[3]}.",
            "Make the images square before they are attacked.",
        )
    for name, found in arms.items():
        if len(found.labels) != len(array):
            raise InputError(
                f"images: expected the {len(found.labels)} images of result {name}, got {len(array)}.",
                "Give the images that were attacked, in the same order.",
            )
    return array.astype(np.float32)


def _check_whole(name: str, found: Result) -> None:
    """Raise InputError for trajectories that ended at their first success: their last iterates are not known."""
    if "retired" in found.flags and bool(np.any(found.flags["retired"])):
        raise InputError(
            f"results: {name} ended images at their first success, got no last iterates of them.",
            "Sweep without first_success_only.",
        )


def _check_origin(name: str, found: Result, pixels: np.ndarray, classifier: Classifier) -> None:
    """Raise InputError where the classifier does not give the clean logits of a few of the images."""
    import torch

    few = sorted({*range(min(ORIGIN, len(pixels))), *range(max(0, len(pixels) - ORIGIN), len(pixels))})
    device = classifier.mean.device
    with classifier.attack_mode(), torch.no_grad():
        now = classifier(torch.from_numpy(pixels[few]).to(device)).float().cpu().numpy()
    clean = found.logits[..., 0, :, :].reshape(-1, len(pixels), found.logits.shape[-1])[0, few]
    if not same_logits(now, clean).all():
        raise InputError(
            f"images, classifier: expected those of result {name}, got other logits for the clean images.",
            "Give the images in the order in which they were attacked, and the classifier as it was then.",
        )


def _check_people(place: Store, header: RunHeader) -> None:
    """Raise InputError where the store holds this cohort with patients and the call has none, or the other way."""
    for folder in sorted(place.records.glob("*")):
        try:
            kept = read_header(folder)
        except StoreError:
            continue
        same = (kept.cohort, kept.classifier, kept.arm) == (header.cohort, header.classifier, header.arm)
        if same and kept.patients_known != header.patients_known:
            raise InputError(
                f"patients: expected {'some' if kept.patients_known else 'none'}, as in the rows of "
                f"{header.cohort} that the store holds, got {'some' if header.patients_known else 'none'}.",
                "Say of all images of a cohort whose they are, or of none; or use another store.",
            )


def _content_ids(pixels: np.ndarray) -> list[str]:
    ids = [image_id(image) for image in pixels]
    if len(set(ids)) < len(ids):
        raise InputError(
            f"images: expected each once, got {len(ids) - len(set(ids))} that occur more often.",
            "Leave the repeated ones out of attack and sweep: they would count twice.",
        )
    return ids


def _bits(pixels: np.ndarray) -> int:
    """8 where every value is a whole grey level of 255, else 16."""
    levels = pixels * np.float32(255)
    return 8 if float(np.abs(levels - np.rint(levels)).max()) < EIGHT_BIT else 16


def _class_names(given: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    names = tuple(map(str, given)) if given is not None else tuple(f"class {number}" for number in range(classes))
    if len(names) != classes or len(set(names)) != classes:
        raise SpecError(
            f"class_names: expected {classes} different names, one a logit, got {', '.join(names)}.",
            "Name all of the model's classes in the order of its logits.",
        )
    return names


# ---- rows -----------------------------------------------------------------------------------------------------------


def _arm(found: Result) -> Arm:
    """The attack's rules and grid as an arm of a study."""
    if isinstance(found, Trajectory):
        epsilons, rules = (found.attack.epsilon,), (found.attack.step_size,)
    else:
        epsilons, rules = found.epsilons, found.step_sizes or (found.attack.step_size,)  # type: ignore[assignment]
    return Arm(
        epsilons=epsilons, step_sizes=tuple(map(_rule, rules)), precision=found.precision, **found.attack.rules()
    )


def _rule(rule: float | str) -> float | str:
    """A step size's name as its rule: "0.01" is a number."""
    try:
        return float(rule)
    except ValueError:
        return rule


def _blocks(found: Result, ids: Sequence[str]) -> Iterator[TrajectoryRows]:
    """Restart 0 of every point, each with further restarts of its images where they were kept whole."""
    arm = _arm(found)
    names = [step_size_name(rule) for rule in arm.step_sizes]
    grid = (len(names), len(arm.epsilons))
    path = {
        name: getattr(found, name).reshape(*grid, *_without_grid(found, getattr(found, name))) for name in PATH_COLUMNS
    }
    flags = {name: flag.reshape(*grid, len(ids)) for name, flag in found.flags.items()}
    targets = np.full(len(ids), -1, np.int64) if found.targets is None else found.targets.astype(np.int64)
    further = _by_point(found, ids)
    for s, rule in enumerate(names):
        for e, epsilon in enumerate(arm.epsilons):
            columns = {name: _row_first(values[s, e], COLUMNS[name].axes) for name, values in path.items()}
            block = TrajectoryRows(
                image_id=np.array(ids, dtype=object),
                step_size=np.full(len(ids), rule, dtype=object),
                epsilon=np.full(len(ids), canonical_float(epsilon)),
                restart=np.zeros(len(ids), np.int32),
                label=found.labels.astype(np.int64),
                target=targets,
                **columns,  # type: ignore[arg-type]
                flags={name: flag[s, e] for name, flag in flags.items()},
            )
            rest = further.get((rule, canonical_float(epsilon)))
            yield block if rest is None else TrajectoryRows.concatenate([block, rest])


def _without_grid(found: Result, values: np.ndarray) -> tuple[int, ...]:
    """Shape of a column at one point: (step, image, …), or (image,)."""
    leading = 0 if isinstance(found, Trajectory) else 1 if found.step_sizes is None else 2
    return values.shape[leading:]


def _row_first(values: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """(step, image, …) as (image, step, …); a column without steps as it is."""
    return values.swapaxes(0, 1) if "step" in axes else values


def _by_point(found: Result, ids: Sequence[str]) -> dict[tuple[str, float], TrajectoryRows]:
    """Restarts 1 and more of survivors, by point, under the images' names in the store."""
    if found.restarts is None:
        return {}
    rows = found.restarts.take(found.restarts.restart > 0)
    called = dict(zip(found.image_ids, ids, strict=True))
    keys = [(str(s), canonical_float(float(e))) for s, e in zip(rows.step_size, rows.epsilon, strict=True)]
    made = {}
    for key in dict.fromkeys(keys):
        part = rows.take(np.array([one == key for one in keys]))
        columns = {name: getattr(part, name) for name in COLUMNS}
        columns["image_id"] = np.array([called[str(one)] for one in part.image_id], dtype=object)
        made[key] = TrajectoryRows(**columns, flags=part.flags)
    return made


# ---- images for figures ---------------------------------------------------------------------------------------------


def _keep(folder: Path, header: RunHeader, found: Trajectory, pixels: np.ndarray, ids: Sequence[str]) -> None:
    """The first images of each class by name, chosen without a look at the result."""
    order = sorted(range(len(ids)), key=lambda place: ids[place])
    for label in range(len(header.class_names)):
        for place in [one for one in order if found.labels[one] == label][:KEPT]:
            clean, last = found.logits[0, place], found.logits[-1, place]
            example = Example(
                cohort=header.cohort, run_id=header.run_id, arm=header.arm, image_id=ids[place], label=label,
                class_names=header.class_names, epsilon=canonical_float(found.attack.epsilon),
                step_size=step_size_name(found.attack.step_size), steps=header.steps, predicted=int(predicted(last)),
                clean_probabilities=_shares(clean), adversarial_probabilities=_shares(last), bits=header.bits,
            )  # fmt: skip
            write_example(folder, example, pixels[place], found.adversarial_images[place])


def _shares(logits: np.ndarray) -> tuple[float, ...] | None:
    with np.errstate(invalid="ignore"):
        found = probabilities(logits)
    return tuple(found.tolist()) if np.isfinite(found).all() else None
