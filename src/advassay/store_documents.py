"""The JSON documents stages leave for each other in the store: what was prepared, what was trained.

A document is written by one stage and read by several (cohorts → training, report), so its shape is a shared
word. Run headers live in records/, which writes and reads them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from advassay.identity import content_hash
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_spec import Arm
from advassay.spec.base_model import Frozen

CHECKSUM = "content_sha256"
"""Name of the entry that says what a document's other entries were when it was written (checked_files.py)."""


class Document(Frozen):
    """Base of what is a file of its own: its checksum is no field."""

    @model_validator(mode="before")
    @classmethod
    def _without_checksum(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if name != CHECKSUM} if isinstance(data, dict) else data


class LeftOut(Frozen):
    """How many rows one reason left out, with a few examples by image_id (never by path)."""

    reason: str
    count: int
    examples: tuple[str, ...] = ()


class Deidentification(Frozen):
    """What could name a person in the source's files, and that none of it went along."""

    files: int
    met: dict[str, int]
    """Keyword of each identifying DICOM tag (PS3.15 Table E.1-1) → files that hold it with a value."""
    carried: tuple[str, ...] = ()
    """Tags whose values went along in clear: none, or the cohort would not have been written."""
    columns_checked: tuple[str, ...]
    """Text columns of the manifest that were compared with the original ids of their images."""


class Preparation(Document):
    """cohorts/<cohort>/preparation.json."""

    format_version: int = 1
    cohort: str
    identity: str
    """The cohort by content: hash of (image_id, label, role) of every image, size, channels, depth, scaling, resize."""
    request: str = ""
    """Hash of what was asked for (spec, source, size, seed): the same request is not prepared twice."""
    source_state: str | None = None
    """Fingerprint of the source when it was prepared: a table that has changed is noticed."""
    title: str
    image_type: str
    class_names: tuple[str, ...]
    positive: str
    counts: dict[str, dict[str, int]]
    """role (training | tuning | validation) → class name → images, augmented copies among them."""
    copies: dict[str, dict[str, int]] = Field({}, exclude_if=lambda value: not value)
    """role → class name → augmented copies among `counts`; empty where none were made."""
    patients: dict[str, int]
    """role → distinct patients."""
    patients_per_class: dict[str, dict[str, int]] = Field({}, exclude_if=lambda value: not value)
    """role → class name → distinct patients; empty where no patient is known, and in stores of older versions."""
    image_size_px: int
    channels: int
    bits: int
    """Depth of the prepared PNG, 8 or 16."""
    scaling: str
    resize: str
    split: str
    cluster: str
    """Which column says who is a patient, as the source names it."""
    without_patient: int
    """Rows without a patient, each kept as its own."""
    patients_known: bool
    """False where no row carries a patient: intervals then treat images as independent."""
    candidates: int
    """Rows of the source before any rule."""
    flow: tuple[dict[str, Any], ...]
    """Steps of the selection in order: {step, kept, left_out}."""
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...] = ()
    dicom_reading: int | None = Field(None, exclude_if=lambda value: value is None)
    """Version of the rules that read DICOM files; null for other sources, and in stores of earlier versions."""
    deidentification: Deidentification | None = Field(None, exclude_if=lambda value: value is None)
    """Null where the source's files have no tags that name a person."""
    spec: dict[str, Any]
    """The CohortSpec as used."""
    published: dict[str, Any] | None = None


class Scores(Frozen):
    """How a classifier does on one split (shares in [0, 1]; null where undefined)."""

    images: int
    accuracy: float
    auroc: float | None
    """Two classes: of the positive class; more: macro average, one class against the rest."""
    sensitivity: float | None
    specificity: float | None


class ForgottenList(Frozen):
    """Images and patients that were taken out of a store: the first 32 hexadecimal digits of SHA-256(salt + text)."""

    model_config = ConfigDict(extra="ignore")

    salt: str
    """Random, hexadecimal."""
    images: tuple[str, ...] = ()
    """Of each image_id."""
    patients: tuple[str, ...] = ()
    """Of each pseudonym."""


class ForgottenDocument(Document):
    """forgotten.json: who was taken out of the store, and must not come back with another store or a preparation."""

    model_config = ConfigDict(extra="ignore")

    format_version: int = 1
    lists: tuple[ForgottenList, ...] = ()
    """The store's own, and those of stores that were joined to it."""


class TrainingDocument(Document):
    """classifiers/<id>/training.json."""

    format_version: int = 1
    classifier: str
    """Identity: hash of the training images' content, the spec, the seed and the start weights."""
    cohort: str
    cohort_identity: str
    class_names: tuple[str, ...]
    positive: str | None = None
    """The class whose detection is sensitivity in the scores; null = as in the header of model.safetensors."""
    architecture: str
    channels: int
    image_size_px: int
    mean: float
    std: float
    train_size: int
    """Training images used (tuning part not counted)."""
    full: bool
    """Trained on the whole training split (false for smaller members of a size series)."""
    seed: int
    updates: int
    """Optimiser updates made."""
    selected_update: int | None = None
    """The update whose network was kept."""
    precision: str = "32-true"
    """Arithmetic of the updates in Lightning's words (32-true | bf16-mixed); scores are always float32."""
    spec: dict[str, Any]
    weights_sha256: str
    """Of model.safetensors."""
    start_weights_sha256: str | None
    start_weights_tensors: int | None = None
    """Tensors taken from the start weights."""
    validation: Scores
    tuning: Scores | None
    history: tuple[dict[str, float], ...]
    """One entry per evaluation: update, training_loss (mean since the last), learning_rate; with selection images
    also tuning_loss (class-weighted cross-entropy, nats) and tuning_accuracy (balanced)."""
    seconds: float
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()


class ExecutionConfig(Frozen):
    """What fixes the last bits of a result: chosen once per store, kept in every header, reused on resume."""

    batch_size: int
    device: str
    """cpu or cuda."""
    device_name: str
    threads: int
    memory_format: str
    """contiguous | channels-last; of the pass that steers."""
    rewrites: tuple[str, ...] = ()
    """What was done to the network that steers: folded, channels-last, bfloat16, fused, compiled; empty = as it is."""
    torch: str


ComputeShape = ExecutionConfig
"""Its name up to 0.1."""


class Doubling(Frozen):
    """A sample of a run's images attacked for 2K iterations instead of K (Carlini et al. 2019): has it converged?"""

    model_config = ConfigDict(extra="ignore")

    steps: int
    """2K."""
    step_size: str
    """Name of the step size it ran with: the analysed one of the deciding arm, else the arm's first declared."""
    arm: str
    """Name of the arm."""
    by_epsilon: dict[str, dict[str, int]]
    """ε as text → {images, at_k, at_2k, gained, lost, any_k, any_2k}: attackable images; those misclassified at iterate
    K as the run recorded them and at iterate 2K; at 2K only; at K only; at any iterate up to K, up to 2K. Restart 0."""
    image_ids: tuple[str, ...] = Field((), exclude_if=lambda value: not value)
    """The images of the sample, an empty text for one that was removed from the store; no image at all in controls from
    before it was kept which of them change."""
    changes: dict[str, dict[str, tuple[int, ...]]] = Field({}, exclude_if=lambda value: not value)
    """ε as text → {gained, lost, any_gained, any_lost, left_out}: places in `image_ids`, from 0, of the images
    misclassified at iterate 2K only, at iterate K only; at any iterate up to 2K only, up to K only; of the images that
    do not count at this ε (not first classified correctly, or no decision at some iterate)."""


class Controls(Frozen):
    """Evidence that the attack worked, beside every arm. Counts over attackable images of a small sample."""

    model_config = ConfigDict(extra="ignore")

    images: int
    epsilon_zero_changed: int
    """Images whose decision differs at ε = 0 from the clean pass; must be 0."""
    noise: dict[str, tuple[int, int]]
    """ε as text → (misclassified under uniform random sign noise of that ε, attackable)."""
    cross_check: dict[str, dict[str, int]]
    """ε as text → {images, declared, stronger, missed}: attackable images, those misclassified under the declared
    attack, those misclassified under it or a stronger one run on the others, and the difference: at least so many
    were missed."""
    stronger: str
    """Which attack the cross-check used, in words; empty where none ran."""
    doubling: Doubling | None = Field(None, exclude_if=lambda value: value is None)
    """The same attack with twice the iterations; null in runs from before this control existed."""


class StatedPlan(Frozen):
    """An analysis plan as a study stated it at one time."""

    plan: AnalysisPlan
    """With its arm and step size named, also where the study leaves them to the order of declaration."""
    sha256: str
    """AnalysisPlan.sha256: 16 hex digits of the plan's canonical JSON."""
    frozen: str
    """When it was written down, UTC, ISO 8601."""
    attacked_before: int
    """Rows that the store's records held at that time."""
    arm: Arm
    """The deciding arm with its grid, as declared at that time (its number of images left out)."""
    series_epsilons: tuple[float, ...] | None = None
    """Amplitudes at which the deciding arm attacks the training-size series, rising; empty: it attacks none; null: a
    plan from before this was kept. A series that another arm attacks decides nothing."""
    transfer: bool | None = None
    """Whether the study asked for transfer (question 6); null: a plan from before this was kept."""
    features: bool | None = None
    """Whether it asked for distances in features (question 7); null likewise."""

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_frozen(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(plan := data.get("plan"), dict):
            found = content_hash(plan)
            if found != data.get("sha256"):
                raise ValueError(
                    f"plan: expected the one with sha256 {data.get('sha256')}, got {found}: the file was changed "
                    "after the plan was frozen"
                )
        return data


class AnalysisDocument(StatedPlan):
    """analysis.json: the analysis plan in force, which is the first one frozen, and what the study stated later."""

    format_version: int = 1
    history: tuple[StatedPlan, ...] = ()
    """Plans (or grids of the deciding arm) stated after the first one, oldest first. They are shown and decide nothing:
    the verdicts keep the first plan and its amplitudes."""

    @property
    def prespecified(self) -> bool:
        """Whether the plan was frozen before anything was attacked."""
        return self.attacked_before == 0

    @property
    def changed(self) -> list[StatedPlan]:
        """What the study stated later in place of the plan in force, oldest first."""
        return list(self.history)


class Machine(Frozen):
    """What fixes the last bits of a result on a machine, besides the execution configuration."""

    model_config = ConfigDict(extra="ignore")

    device: str
    """cpu or cuda."""
    device_name: str
    """The GPU's name; of a processor its maker."""
    instructions: tuple[str, ...] = ()
    """Sets of vector instructions that a processor has, sorted."""
    torch: str


class NodeWork(Frozen):
    """What workers on one node have attacked, in all sessions."""

    model_config = ConfigDict(extra="ignore")

    pieces: int = 0
    images: int = 0
    rows: int = 0
    gradient_evaluations: int = 0
    seconds: float = 0.0

    def plus(self, other: NodeWork) -> NodeWork:
        return NodeWork(**{name: getattr(self, name) + getattr(other, name) for name in NodeWork.model_fields})


class ClusterDocument(Frozen):
    """Written by the processes that hand out work, every few seconds and at their end."""

    model_config = ConfigDict(extra="ignore")

    machine: Machine | None = None
    """The kind of node that this store is filled on: others are refused."""
    nodes: dict[str, NodeWork] = {}
    """Name of a node → what it attacked."""
    jobs: int = 0
    done: int = 0
    workers: int = 0
    running: tuple[str, ...] = ()
    """Jobs under way, in words; empty once the command has ended."""
    aside: tuple[str, ...] = ()
    """What was set aside in the latest session, in words."""
    updated: str = ""


class CohortRange(Frozen):
    """At which amplitudes the tuning images of one cohort fall to one arm."""

    model_config = ConfigDict(extra="ignore")

    request: str
    """Hash of what was asked for: cohort, network, rules, amplitudes tried. The same is not found twice."""
    cohort_identity: str
    classifier: str
    """Identity of the cohort's main network, which was attacked."""
    images: int
    """Attackable tuning images."""
    misclassified: dict[str, int]
    """Amplitude tried, as text → images whose smallest successful amplitude is this one or a smaller one."""
    lower: float | None
    """Largest amplitude tried at which at most 2 % are misclassified; null where hardly any ever is."""
    upper: float | None
    """Smallest amplitude tried at which at least 98 % are misclassified, or where the share levels off below that."""
    notes: tuple[str, ...] = ()


class ArmRange(Frozen):
    """The amplitudes found for one arm, and what they rest on."""

    model_config = ConfigDict(extra="ignore")

    step_size: str = ""
    """Name of the step size that was used."""
    success: str = ""
    """Iterate reading: last or any."""
    cohorts: dict[str, CohortRange] = {}
    epsilons: tuple[float, ...] = ()
    """The grid, the same for every cohort; empty until all cohorts are done."""


class RangeFinding(Frozen):
    """range_finding.json: the amplitudes of arms that declare `epsilons: auto`."""

    model_config = ConfigDict(extra="ignore")

    format_version: int = 1
    arms: dict[str, ArmRange] = {}


class PlantedTest(Frozen):
    """Images with an adversarial that is known to lie inside the ball, and how many of them an attack finds.

    The active test of Zimmermann et al. 2022 (arXiv 2206.13991), see attacks/suite/planted_adversarials.py.
    """

    model_config = ConfigDict(extra="ignore")

    arm: str
    """Name of the attack arm that was tested."""
    step_size: str
    epsilon: float
    steps: int
    images: int
    """Images in which an adversarial was planted, each confirmed by a forward pass."""
    found: int
    """Of these, how many the attack finds."""
    one_step: int
    """How many a single step of size ε finds: what makes the test worth something is that these are few."""
    noise: int
    """How many the best of `noise_draws` random points finds."""
    noise_draws: int
    features: Literal["penultimate", "logits"]
    """What the planted decision reads: the input of the network's last linear layer, or its logits without one."""
    readouts: int
    """Directions of these features that must be passed at once."""
    left_out: int
    """Images in which nothing could be planted: no random point of the ball moves their features."""
    request: str = ""
    """Hash of what was asked: the attack, the prepared cohort, and which of its images."""


class Evaluation(Document):
    """evaluation.json: a model that was handed over and evaluated (`advassay evaluate`)."""

    model_config = ConfigDict(extra="ignore")

    format_version: int = 1
    preset: str
    """quick | standard | full."""
    architecture: str
    classifier: str
    """Identity of the network in records."""
    weights_sha256: str
    labels: Literal["given", "model"]
    """model: the images had no labels; the model's own decisions on them stand for labels."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know of the model and its images, in sentences."""
    planted: PlantedTest | None = None
    """Null until the attack has run, and where it was not asked for."""
    positive_by: Literal["", "given", "checkpoint", "name", "last"] = ""
    """What says which class is the positive one, whose detection is sensitivity: the caller, the checkpoint, its name
    beside one such as normal, or that it is the last; empty in stores of earlier versions."""
