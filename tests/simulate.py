"""Stores with a known truth, written by the records' own writer: for tests of analysis and report.

Each image has a threshold on a latent dose; it has fallen at (ε, k) when the dose exceeds it:

    dose(ε, k) = slope · ln(ε / epsilon50) − rise · exp(−k / tau)            threshold ~ N(0, 1)

so that the true success rate at the last iteration is Φ(dose) whatever the correlation: a share `icc` of the
thresholds' variance is shared by the images of one patient.

    store = make_store(tmp_path / "store")                                # 4 cohorts, 3 arms, gallery, documents
    python tests/simulate.py runs/simulated                               # the same from a shell
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from scipy.stats import norm

from advassay import store_layout
from advassay.identity import canonical_float, content_hash, draw
from advassay.record_columns import unset_columns
from advassay.records import Example, RunHeader, RunWriter, attack_rules, run_identity, write_example
from advassay.spec.attack_spec import Arm, resolve_step_size, step_size_name
from advassay.spec.study_spec import Study
from advassay.store_documents import Controls, ExecutionConfig, LeftOut, Preparation, Scores, TrainingDocument
from advassay.trajectory import Cost, TrajectoryRows

GRID = tuple(canonical_float(0.02 * i) for i in range(1, 11))
FINE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Cohort:
    """A cohort with a known truth. Thresholds are standard normal, so `slope` is in probits per unit of ln ε."""

    name: str
    image_type: str
    classes: tuple[str, ...] = ("norm", "disease")
    epsilon50: float = 0.05
    slope: float = 1.0
    rise: float = 3.0
    tau: float = 3.0
    patients: int = 40
    images_per_patient: int = 2
    patients_known: bool = True
    icc: float = 0.2
    accuracy: float = 0.9
    confidence_shift: float = 0.0
    """Dose taken away from images with a clean confidence above 0.95: negative conclusion 4 where it is positive."""
    lost_again: float = 0.0
    """Probability that a fallen iterate is classified correctly again: `last` and `any` differ."""
    sizes: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    size_effect: float = 0.0
    """Dose added per doubling of the training size."""
    network_sd: float = 0.05
    """Standard deviation of the dose between networks of the same size."""
    published: dict[str, float] | None = None
    archive: str = ""
    """Cohorts of the same archive have the same images; empty = the cohort's own."""

    @property
    def channels(self) -> int:
        return 1 if self.image_type == "X-ray" else 3

    @property
    def bits(self) -> int:
        return 16 if self.image_type == "X-ray" else 8

    def rate(self, epsilon: float, step: int, extra: float = 0.0) -> float:
        """The true success rate (confidence_shift and lost_again aside)."""
        dose = self.slope * np.log(epsilon / self.epsilon50) - self.rise * np.exp(-step / self.tau)
        return float(norm.cdf(dose + extra))


COHORTS = (
    Cohort("X-NR2", "X-ray", ("age 20-35", "age 50-70"), 0.05, 1.2, published={"images": 200000, "score": 0.98}),
    Cohort("X-TB", "X-ray", ("tuberculosis", "norm"), 0.04, 1.0, published={"images": 28000, "score": 0.82}),
    Cohort(
        "H-OV-TH", "histology", ("ovary tumour", "ovary norm", "thyroid tumour", "thyroid norm"), 0.08, 0.6,
        confidence_shift=0.8, published={"images": 192000, "score": 0.91},
    ),
    Cohort(
        "H-BR", "histology", ("tumour", "norm"), 0.07, 0.5, patients=25, images_per_patient=4, sizes=(40, 80, 160),
        seeds=(0, 1, 2), published={"images": 125000, "score": 0.97},
    ),
)  # fmt: skip

ARMS = {
    "A": Arm(epsilons=GRID, step_sizes=(0.01,), steps=20),
    "B": Arm(epsilons=(0.02, 0.1, 0.2), step_sizes=(100,), steps=20, update="projected-gradient", loss="probability"),
    "C": Arm(epsilons=FINE, step_sizes=("epsilon/4",), steps=20, loss="margin"),
}
ARM_DOSE = {"A": 0.0, "B": -1.0, "C": 2.5}
"""How much stronger than arm A each arm is, on the dose scale."""


@dataclass(frozen=True)
class Population:
    """The validation images of a cohort, the same for every network and arm."""

    image_ids: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    threshold: np.ndarray
    clean_logits: np.ndarray = field(repr=False)


def population(cohort: Cohort, seed: int = 0) -> Population:
    """Draw images, patients, thresholds and clean logits."""
    rng = np.random.default_rng(draw(seed, cohort.name))
    n, classes = cohort.patients * cohort.images_per_patient, len(cohort.classes)
    patient = np.repeat(np.arange(cohort.patients), cohort.images_per_patient)
    shared, own = rng.standard_normal(cohort.patients)[patient], rng.standard_normal(n)
    labels = rng.permutation(np.arange(n) % classes)
    confidence = 1 / classes + (1 - 1 / classes) * rng.beta(5, 1, n)
    decision = np.where(rng.random(n) < cohort.accuracy, labels, (labels + 1) % classes)
    archive = cohort.archive or cohort.name
    return Population(
        image_ids=np.array([content_hash([archive, seed, i]) for i in range(n)], dtype=object),
        labels=labels.astype(np.int64),
        patients=np.array(["p" + content_hash([archive, seed, int(p)]) for p in patient], dtype=object),
        threshold=np.sqrt(cohort.icc) * shared + np.sqrt(1 - cohort.icc) * own,
        clean_logits=_logits(decision, np.minimum(confidence, 1 - 1e-6), classes),
    )


def _logits(decision: np.ndarray, confidence: np.ndarray, classes: int) -> np.ndarray:
    """Logits whose softmax gives `decision` the probability `confidence`; the rest is shared equally."""
    logits = np.zeros((*decision.shape, classes), np.float32)
    value = np.log(confidence) - np.log((1 - confidence) / (classes - 1))
    np.put_along_axis(logits, decision[..., None], value[..., None].astype(np.float32), axis=-1)
    return logits


SHARD_ROWS = 100_000
"""Rows after which `write_run` begins another shard: a large store is written in little memory."""


def trajectories(cohort: Cohort, images: Population, arm: Arm, *, extra: float = 0.0, seed: int = 0) -> TrajectoryRows:
    """All rows of one run; `extra` dose is the arm's and the network's."""
    return TrajectoryRows.concatenate(list(_blocks(cohort, images, arm, extra, seed)))


def _blocks(cohort: Cohort, images: Population, arm: Arm, extra: float, seed: int) -> Iterator[TrajectoryRows]:
    """The same in blocks of whole grid points."""
    rng = np.random.default_rng(draw(seed, cohort.name, arm.update, arm.loss, extra))
    blocks: list[TrajectoryRows] = []
    for rule in arm.step_sizes:
        for epsilon in arm.epsilons:
            blocks.append(_block(cohort, images, arm, step_size_name(rule), epsilon, rule, extra, rng))
            if sum(map(len, blocks)) >= SHARD_ROWS:
                yield TrajectoryRows.concatenate(blocks)
                blocks = []
    if blocks:
        yield TrajectoryRows.concatenate(blocks)


def _block(
    cohort: Cohort, images: Population, arm: Arm, name: str, epsilon: float, rule: float | str, extra: float,
    rng: np.random.Generator,
) -> TrajectoryRows:  # fmt: skip
    n, steps, classes = len(images.labels), np.arange(arm.steps + 1), len(cohort.classes)
    clean_confidence = np.exp(images.clean_logits).max(1) / np.exp(images.clean_logits).sum(1)
    dose = cohort.slope * np.log(epsilon / cohort.epsilon50) - cohort.rise * np.exp(-steps / cohort.tau) + extra
    surplus = dose[None, :] - (images.threshold + cohort.confidence_shift * (clean_confidence > 0.95))[:, None]
    lost = rng.random(surplus.shape) < cohort.lost_again
    down = (surplus > 0) & ~lost
    decision = np.where(down, ((images.labels + 1) % classes)[:, None], images.labels[:, None])
    logits = _logits(
        decision, 1 / classes + (1 - 1 / classes) * (0.01 + 0.98 * (1 - np.exp(-np.abs(surplus)))), classes
    )
    logits[:, 0] = images.clean_logits
    wrong = images.clean_logits.argmax(1) != images.labels
    logits[wrong] = images.clean_logits[wrong][:, None]
    moved = np.minimum(epsilon, steps * min(resolve_step_size(rule, epsilon), epsilon)).astype(np.float32)
    norm_of_gradient = np.tile(1 - clean_confidence[:, None], (1, len(steps))).astype(np.float32)
    norm_of_gradient[:, -1] = np.nan
    known = {
        "image_id": images.image_ids, "step_size": np.full(n, name, dtype=object), "epsilon": np.full(n, epsilon),
        "label": images.labels, "logits": logits, "gradient_norm": norm_of_gradient,
        "boundary_share": np.tile((moved >= epsilon).astype(np.float32) * 0.8, (n, 1)),
        "linf": np.tile(moved, (n, 1)), "l2": np.tile(moved * 64, (n, 1)),
        "scored_float32": np.ones((n, len(steps)), bool), "ssim": np.full(n, np.exp(-5 * epsilon), np.float32),
    }  # fmt: skip
    flags = {"saturated": clean_confidence > 0.999, "zero_gradient": clean_confidence > 0.9999}
    return TrajectoryRows(**unset_columns(n, arm.steps, classes) | known, flags=flags)


def run_header(
    cohort: Cohort, arm_name: str, arm: Arm, *, position: int = 0, train_size: int = 320, full: bool = True,
    primary: bool = True, seed: int = 0,
) -> RunHeader:  # fmt: skip
    """What a run of this network under this arm is called."""
    classifier = content_hash([cohort.name, train_size, seed])
    identity = content_hash([cohort.name, "cohort"])
    return RunHeader(
        run_id=run_identity(classifier=classifier, arm=arm, cohort_identity=identity), study="simulated",
        cohort=cohort.name, cohort_title=f"simulated {cohort.name}",
        cohort_identity=identity, image_type=cohort.image_type, class_names=cohort.classes, positive=cohort.classes[0],
        channels=cohort.channels, image_size_px=64, bits=cohort.bits,
        patients_known=cohort.patients_known, classifier=classifier, architecture="inception_v3",
        weights_sha256="0" * 64,
        train_size=train_size, full=full, primary=primary, seed=seed, arm=arm_name, arm_position=position,
        attack=attack_rules(arm), steps=arm.steps,
        compute=ExecutionConfig(batch_size=16, device="cpu", device_name="simulated", threads=1,
                             memory_format="contiguous", torch="none"),
    )  # fmt: skip


def image_rows(cohort: Cohort, images: Population) -> pl.DataFrame:
    """images.parquet of every run of the cohort."""
    return pl.DataFrame(
        {
            "image_id": images.image_ids.tolist(),
            "label": images.labels,
            "patient_id": images.patients.tolist(),
            "has_patient": [cohort.patients_known] * len(images.labels),
            "clean_contrast": 0.1 + 0.1 * np.abs(np.sin(np.arange(len(images.labels)))),
        }
    )


def write_run(
    store: store_layout.Store, cohort: Cohort, images: Population, arm_name: str, arm: Arm, *, position: int = 0,
    train_size: int = 320, full: bool = True, primary: bool = True, seed: int = 0, extra: float = 0.0,
) -> RunHeader:  # fmt: skip
    """One run into the store, as the study writes it."""
    header = run_header(
        cohort, arm_name, arm, position=position, train_size=train_size, full=full, primary=primary, seed=seed
    )
    writer = RunWriter(store.run(header.run_id), header)
    writer.add_images(image_rows(cohort, images))
    rows = 0
    for block in _blocks(cohort, images, arm, extra, seed):
        writer.append(block)
        rows += len(block)
    attackable = int((images.clean_logits.argmax(1) == images.labels).sum())
    controls = Controls(
        images=min(16, attackable), epsilon_zero_changed=0,
        noise={f"{e:g}": (0, min(16, attackable)) for e in arm.epsilons},
        cross_check={f"{arm.epsilons[-1]:g}": {"images": 16, "declared": 12, "stronger": 13, "missed": 1}},
        stronger="margin loss, step epsilon/4, 40 iterations",
    )  # fmt: skip
    cost = Cost(
        gradient_evaluations=rows * arm.steps, forward_passes=rows * 3, seconds=rows * 0.01, batch_size=16
    )  # fmt: skip
    return writer.finish(cost, controls, ["Simulated: no network was attacked."])


def write_preparation(store: store_layout.Store, cohort: Cohort, images: Population) -> None:
    """cohorts/<cohort>/preparation.json."""
    per_class = {name: int((images.labels == i).sum()) for i, name in enumerate(cohort.classes)}
    document = Preparation(
        cohort=cohort.name, identity=content_hash([cohort.name, "cohort"]), title=f"simulated {cohort.name}",
        image_type=cohort.image_type, class_names=cohort.classes, positive=cohort.classes[0],
        counts={"training": {n: 4 * c for n, c in per_class.items()},
                "tuning": {n: c // 3 for n, c in per_class.items()}, "validation": per_class},
        patients={"training": 4 * cohort.patients, "tuning": cohort.patients // 3, "validation": cohort.patients},
        image_size_px=64, channels=cohort.channels, bits=cohort.bits,
        scaling="full-range", resize="squash", split="patient", cluster="patient_id", without_patient=0,
        patients_known=cohort.patients_known, candidates=6 * len(images.labels) + 3,
        flow=({"step": "candidates", "kept": 6 * len(images.labels) + 3, "left_out": 0},
              {"step": "readable", "kept": 6 * len(images.labels), "left_out": 3}),
        left_out=(LeftOut(reason="unreadable", count=3),),
        spec={"source": "simulated", "classes": list(cohort.classes)}, published=cohort.published,
    )  # fmt: skip
    with store_layout.writing(store.cohort(cohort.name) / store_layout.PREPARATION) as beside:
        beside.write_text(document.model_dump_json(indent=2))


def write_training(
    store: store_layout.Store,
    cohort: Cohort,
    images: Population,
    *,
    train_size: int = 320,
    full: bool = True,
    seed: int = 0,
) -> None:
    """classifiers/<id>/training.json."""
    classifier = content_hash([cohort.name, train_size, seed])
    accuracy = float((images.clean_logits.argmax(1) == images.labels).mean())
    two = len(cohort.classes) == 2
    scores = Scores(images=len(images.labels), accuracy=accuracy, auroc=min(1.0, accuracy + 0.05),
                    sensitivity=accuracy if two else None, specificity=accuracy if two else None)  # fmt: skip
    history = [{"update": u, "training_loss": 0.7 / (1 + u / 20), "tuning_loss": 0.72 / (1 + u / 30),
                "tuning_accuracy": min(0.5 + u / 150, accuracy), "learning_rate": 1e-4}
               for u in (20, 40, 60)]  # fmt: skip
    document = TrainingDocument(
        classifier=classifier, cohort=cohort.name, cohort_identity=content_hash([cohort.name, "cohort"]),
        class_names=cohort.classes, architecture="inception_v3", channels=cohort.channels,
        image_size_px=64, mean=0.5, std=0.5, train_size=train_size, full=full, seed=seed, updates=60,
        spec={"architecture": "inception_v3", "updates": 60, "batch_size": 32, "learning_rate": 1e-4},
        weights_sha256="0" * 64, start_weights_sha256=None, validation=scores, tuning=scores, history=tuple(history),
        seconds=30.0, versions={"python": "3.11"},
    )  # fmt: skip
    with store_layout.writing(store.classifier(classifier) / store_layout.TRAINING) as beside:
        beside.write_text(document.model_dump_json(indent=2))


def write_gallery(store: store_layout.Store, cohort: Cohort, images: Population, header: RunHeader) -> None:
    """Two fallen images of the cohort at every ε of the main arm."""
    rng = np.random.default_rng(draw(0, cohort.name, "pixels"))
    correct = np.flatnonzero(images.clean_logits.argmax(1) == images.labels)
    easiest = correct[np.argsort(images.threshold[correct])][:2]
    for place in easiest:
        clean = _picture(rng, header.channels)
        for point in header.points:
            adversarial = np.clip(clean + point.epsilon * rng.choice([-1, 1], clean.shape), 0, 1).astype(np.float32)
            label = int(images.labels[place])
            other = (label + 1) % len(cohort.classes)
            logits = images.clean_logits[place].astype(float)
            probability = np.exp(logits) / np.exp(logits).sum()
            example = Example(
                cohort=cohort.name, run_id=header.run_id, arm=header.arm, image_id=images.image_ids[place], label=label,
                class_names=cohort.classes, epsilon=point.epsilon, step_size=point.step_size, steps=header.steps,
                predicted=other, clean_probabilities=tuple(probability),
                adversarial_probabilities=tuple(np.roll(probability, 1)), bits=header.bits,
            )  # fmt: skip
            write_example(store.gallery, example, clean, adversarial)


def _picture(rng: np.random.Generator, channels: int, size: int = 64) -> np.ndarray:
    """Blobs, float32 (channels, size, size) in [0, 1]."""
    y, x = np.mgrid[0:size, 0:size] / size
    blobs = [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.02) for cx, cy in rng.random((6, 2))]
    grey = 0.2 + 0.6 * np.clip(sum(blobs), 0, 1)
    return np.stack([grey * (1 - 0.25 * c) for c in range(channels)]).astype(np.float32)


def study_of(cohorts: tuple[Cohort, ...], arms: dict[str, Arm]) -> Study:
    """The study file such a store would come from."""
    phantom = {"X-ray": "chest", "histology": "histology"}
    return Study(
        name="simulated",
        title="Simulated records with a known truth",
        image_size_px=64,
        sources={t: {"kind": "phantoms", "phantom": p} for t, p in phantom.items()},  # type: ignore[dict-item]
        cohorts={
            c.name: {
                "source": "histology" if c.image_type == "histology" else "X-ray",
                "image_type": c.image_type,
                "classes": {name: {"label": name} for name in c.classes},
                "train_sizes": c.sizes,
                "train_seeds": c.seeds,
            }
            for c in cohorts
        },  # type: ignore[arg-type]
        training={"updates": 60},  # type: ignore[arg-type]
        attack={"arms": {name: arm.model_dump(mode="json") for name, arm in arms.items()}},  # type: ignore[arg-type]
    )


def make_store(
    path: Path, cohorts: tuple[Cohort, ...] = COHORTS, arms: dict[str, Arm] | None = None, *, seed: int = 0,
    gallery: bool = True, arm_dose: dict[str, float] = ARM_DOSE,
) -> Path:  # fmt: skip
    """Write a whole store: study.yaml, preparations, trainings, every run of every arm, gallery. Returns `path`."""
    arms = ARMS if arms is None else arms
    store = store_layout.Store(path)
    with store_layout.writing(store.study) as beside:
        dumped = study_of(cohorts, arms).model_dump(mode="json", by_alias=True, exclude_none=True)
        beside.write_text(yaml.safe_dump(dumped, sort_keys=False))
    for cohort in cohorts:
        images = population(cohort, seed)
        write_preparation(store, cohort, images)
        write_training(store, cohort, images)
        for position, (name, arm) in enumerate(arms.items()):
            header = write_run(
                store, cohort, images, name, arm, position=position, extra=arm_dose.get(name, 0.0), seed=0
            )
            if gallery and position == 0:
                write_gallery(store, cohort, images, header)
        _size_series(store, cohort, images, next(iter(arms.items())), seed)
    return path


def _size_series(
    store: store_layout.Store, cohort: Cohort, images: Population, main: tuple[str, Arm], seed: int
) -> None:
    """Networks of every size and seed, attacked by the main arm at three amplitudes."""
    for size, network_seed, extra, arm in size_series(cohort, main, seed):
        write_training(store, cohort, images, train_size=size, full=False, seed=network_seed)
        write_run(store, cohort, images, main[0], arm, train_size=size, full=False, primary=False,
                  seed=network_seed, extra=extra)  # fmt: skip


def size_series(cohort: Cohort, main: tuple[str, Arm], seed: int) -> Iterator[tuple[int, int, float, Arm]]:
    """(train size, seed, extra dose, arm) of every network of the series."""
    rng = np.random.default_rng(draw(seed, cohort.name, "networks"))
    epsilons = tuple(main[1].epsilons[i] for i in (0, len(main[1].epsilons) // 2, -1))
    arm = main[1].model_copy(update={"epsilons": tuple(dict.fromkeys(epsilons))})
    for size in cohort.sizes:
        for network_seed in cohort.seeds:
            extra = cohort.size_effect * np.log2(size / cohort.sizes[-1]) + rng.normal(0, cohort.network_sd)
            yield size, network_seed, float(extra), arm


if __name__ == "__main__":
    print(make_store(Path(sys.argv[1])))
