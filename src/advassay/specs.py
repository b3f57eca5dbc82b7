"""What a study is, in words: sources, cohorts, training, attack arms, figures. YAML ⇄ object; JSON schema.

Every field states its unit and meaning. Relative paths of sources are resolved against the data folder (`--data`),
and none may leave it; an absolute path of a source is opened as written, and the store keeps only its last name.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from advassay.attack_spec import Amplitude, Arm, Frozen, Precision, StepSize

Scalar = str | int | float | bool


class Condition(Frozen):
    """A rule about one column. All given parts must hold; a missing value never matches.

    Written short: `label: tb` is `{in: [tb]}`, `label: [a, b]` is `{in: [a, b]}`.
    """

    in_: tuple[Scalar, ...] | None = Field(None, alias="in")
    """Values accepted; numbers and texts compare as such ("5" is not 5)."""
    not_in: tuple[Scalar, ...] | None = None
    range: tuple[float, float] | None = None
    """Lowest and highest number accepted, both included."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        return {"in": value if isinstance(value, list | tuple) else [value]}

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"range: [lowest, highest], got [{value[0]:g}, {value[1]:g}]")
        return value


Rules = dict[str, Condition]
"""Column name → condition; all must hold."""

_FORBIDDEN_PARTS = {".."}


def _inside(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a path written as text is needed, got {value!r}")
    if _FORBIDDEN_PARTS & set(PurePath(value).parts):
        raise ValueError(f"must stay inside the data folder (no '..'), got {value!r}")
    return value


DataPath = Annotated[str, BeforeValidator(_inside)]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _name(value: str) -> str:
    if not re.fullmatch(NAME[1:-1], value):
        raise ValueError(f"a name is letters, digits, '.', '_', '-', the first a letter or digit, got {value!r}")
    return value


Name = Annotated[str, AfterValidator(_name)]
"""Of cohorts, sources and arms: names of folders in the store, so no spaces, separators or leading dots."""


class _Source(Frozen):
    image_type: str | None = None
    """Default image type of its images (X-ray, histology, …); a cohort's own wins."""
    patient_id: str = "patient_id"
    """Column that says which images belong together (the cluster of every interval).

    A row without a value is its own patient.
    """


class ReportSpec(Frozen):
    """Radiology reports of a table's images, read into columns that a cohort's rules can use.

    norm, pneumosclerosis, emphysema, fibrosis, pneumonia, focal_shadows, bronchitis, tuberculosis, aortic_rotation:
    present | absent | uncertain | not stated, or no value without a report; report: read, or why there is none.
    """

    path: DataPath
    """CSV or Parquet table of reports."""
    text: tuple[str, ...] = Field(min_length=1)
    """Columns that make up a report, in order."""
    id: str
    """Column with the report's id."""
    key: str
    """Column of the image table that names an image's report."""
    language: str | None = None
    """en, es, ru, or a vocabulary file (.yaml). Give this or language_column."""
    language_column: str | None = None
    """Column of the reports that names the language of each."""

    @model_validator(mode="after")
    def _one_language(self) -> ReportSpec:
        if (self.language is None) == (self.language_column is None):
            raise ValueError(
                f"reports: give language or language_column, one of them, got {self.language!r} and "
                f"{self.language_column!r}"
            )
        return self


class TableSource(_Source):
    """A CSV or Parquet table with a column of image paths (relative to the table's folder)."""

    kind: Literal["table"]
    path: DataPath
    image: str = "image"
    """Column with the image path."""
    reports: ReportSpec | None = Field(None, exclude_if=lambda value: value is None)
    """Radiology reports that belong to the images."""  # left out of identities where it is not used


class FolderSource(_Source):
    """One subfolder per class; the subfolder's name becomes the column `label`."""

    kind: Literal["folder"]
    path: DataPath


class NpzSource(_Source):
    """A MedMNIST .npz (2-D): column `label` = class index as text, column `split` = training | tuning | validation."""

    kind: Literal["npz"]
    path: DataPath


class PhantomSource(_Source):
    """Images made by the program, deterministic by (seed, index), with the truth as columns.

    chest columns: age, sex, view, tuberculosis, aortic_rotation, norm (present | absent).
    histology columns: organ, tissue (tumour | normal), slide_id.
    """

    kind: Literal["phantoms"]
    phantom: Literal["chest", "histology"]
    images: int = Field(400, ge=1)
    """Number of images made (patients = images / images_per_patient)."""
    images_per_patient: float = Field(2.0, ge=1.0)
    """Mean number of images of one patient (chest) or tiles of one patient (histology)."""
    signal: float = Field(1.0, ge=0.0)
    """Strength of the class signal: 0 = none, 1 = scores like the reference study's, more = easier."""
    ages: tuple[float, float] = (17.0, 80.0)
    """chest: youngest and oldest age in years, uniform between."""
    prevalence: dict[Literal["tuberculosis", "aortic_rotation"], float] = {}
    """chest: share of patients with each finding, 0 where not named."""
    organs: tuple[Literal["ovary", "thyroid", "breast"], ...] = ("breast",)
    """histology: organs, in equal shares; half of each organ's patients have tumour tiles."""
    size_px: int = Field(128, ge=32, le=1024)
    """Side of the square image as made; a cohort resizes it."""
    seed: int = 0


Source = Annotated[TableSource | FolderSource | NpzSource | PhantomSource, Field(discriminator="kind")]


class Published(Frozen):
    """What the reference study states about a cohort (Kovalev & Voynov 2019, Table 1)."""

    images: int
    score: float


class CohortSpec(Frozen):
    """A study group = classification task: who is in, how images are prepared, how they are split."""

    source: str
    """Name of a source of the study."""
    title: str = ""
    image_type: str | None = None
    """The study's factor: X-ray, histology, …"""
    classes: dict[str, Rules] = Field(min_length=2)
    """Class name → rules over manifest columns; order gives the label index. An image in two classes is left out."""
    where: Rules = {}
    """Rules every image of the cohort satisfies."""
    balance: tuple[str, ...] = ()
    """Columns balanced within each class, e.g. [sex]: equal numbers of each value."""
    carry: tuple[str, ...] = Field((), exclude_if=lambda value: not value)
    """Further source columns that travel with every prepared image. Without it: common clinical and technical columns
    (age, sex, view, organ, …) and those named by the rules. Ids become pseudonyms; a patient's id never travels."""
    equal_classes: bool = False
    """Cut every class to the smallest one's size."""
    per_class: int | dict[str, int] | None = None
    """At most this many images per class, drawn by content; scaled by --scale."""
    patient_id: str | None = None
    """Cluster column of this cohort if not its source's."""
    split: Literal["patient", "image", "declared", "none"] = "patient"
    """patient: all images of a patient on one side; image: as the paper did; declared: column `split` of the source
    (training | tuning | validation); none: every image is a validation image (attacking a given model)."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    tuning_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the training patients used for model selection only."""
    image_size_px: int | None = Field(None, ge=8)
    """Side in pixels; the study's if not given."""
    channels: Literal[1, 3] | None = None
    """Channels kept; null = 1 where every image is grey, else 3."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    """How a non-square image becomes square: change the aspect, cut the centre, or pad with black."""
    scaling: Literal["full-range", "percentile"] = "full-range"
    """How stored values become [0, 1]: full-range = value / largest storable value; percentile = 0.5th–99.5th of
    each image.
    """
    train_sizes: tuple[int | float, ...] = ()
    """Training-size series: numbers of training images (int, scaled by --scale) or shares of the split (float ≤ 1)."""
    train_seeds: tuple[int, ...] = (0,)
    """Seeds of the size series; each size is trained once per seed."""
    positive: str | None = None
    """The class whose detection is sensitivity; null = the first class."""
    phantom: PhantomSource | None = None
    """What `--source phantoms` uses in place of the source."""
    published: Published | None = None


class TrainingSpec(Frozen):
    """How a cohort becomes a classifier."""

    architecture: str = "inception_v3"
    """Any timm model name."""
    weights: DataPath | None = None
    """Start weights (safetensors), relative to the data folder; null = random initialisation."""
    updates: int | None = Field(None, ge=1)
    """Optimiser updates, the same for every training size. Give this or epochs."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the full training split (a size series keeps the number of updates that follows from it)."""
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    """Of Adam; cosine decay with a short linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    class_weights: bool = True
    """Weight the loss by inverse class frequency."""
    augment: Literal["none", "light"] = "light"
    """light: horizontal flip (histology: also vertical, quarter turns), shift to 5 %, brightness, contrast to 10 %."""
    select_on: Literal["tuning", "validation"] = "tuning"
    """Which images choose the checkpoint; `validation` reproduces optimistic practice and warns."""
    evaluations: int = Field(5, ge=1)
    """How many times during training the tuning part is scored; the best checkpoint is kept."""
    patience: int | None = Field(None, ge=1)
    """Stop early after this many evaluations without improvement; null = never."""
    seed: int = 0

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if (self.updates is None) == (self.epochs is None):
            raise ValueError(
                f"training: give updates or epochs, one of them, got updates={self.updates}, epochs={self.epochs}"
            )
        return self


class AttackSpec(Arm):
    """The attack section of a study: what all arms share, and the arms as differences from it."""

    arms: dict[Name, dict[str, Any]] = Field({"A": {}}, min_length=1)
    """Arm name → the fields of this section it changes. The first arm is the main one (the report's main curves)."""
    series_epsilons: tuple[Amplitude, ...] | None = None
    """Amplitudes at which the training-size series is attacked (main arm only); null = the main arm's."""
    controls: bool = True
    """Run ε = 0, random noise and the cross-check with a stronger attack beside every arm."""

    def arm(self, name: str) -> Arm:
        """The arm as it runs: this section with the arm's own fields in place."""
        shared = self.model_dump(include=set(Arm.model_fields))
        return Arm(**(shared | self.arms[name]))

    @model_validator(mode="after")
    def _arms_hold(self) -> AttackSpec:
        for name in self.arms:
            try:
                arm = self.arm(name)
            except ValueError as error:
                raise ValueError(f"arms.{name}: {error}") from None
            if arm.targeted:
                raise ValueError(
                    f"arms.{name}.targeted: false in a study, which names no target classes, got true; "
                    "targets are given to advassay.attack and advassay.sweep"
                )
        return self


class FigureSpec(Frozen):
    epsilon: Amplitude = 0.02
    """Amplitude of figures 3b–3d and of figure 2."""
    gallery: bool = True
    """Keep a few clean and attacked images for figures 1 and 2 (default; turn off where images must not leave)."""


class Study(Frozen):
    """A whole study. `advassay schema` prints this as JSON schema."""

    name: str = Field(pattern=NAME)
    title: str = ""
    seed: int = 0
    """Seed of selections and splits."""
    image_size_px: int = Field(256, ge=8)
    """Side of every prepared image, unless a cohort says otherwise."""
    sources: dict[Name, Source] = {}
    cohorts: dict[Name, CohortSpec] = Field(min_length=1)
    training: TrainingSpec
    attack: AttackSpec = AttackSpec()
    figures: FigureSpec = FigureSpec()

    @model_validator(mode="after")
    def _names_resolve(self) -> Study:
        for name, cohort in self.cohorts.items():
            if cohort.source not in self.sources:
                raise ValueError(f"cohorts.{name}.source: one of {sorted(self.sources)}, got {cohort.source!r}")
        return self

    def size_of(self, cohort: str) -> int:
        """Side in pixels of a cohort's prepared images."""
        return self.cohorts[cohort].image_size_px or self.image_size_px


__all__ = [
    "Arm",
    "AttackSpec",
    "CohortSpec",
    "Condition",
    "FigureSpec",
    "FolderSource",
    "NpzSource",
    "PhantomSource",
    "Precision",
    "Published",
    "ReportSpec",
    "Rules",
    "Source",
    "StepSize",
    "Study",
    "TableSource",
    "TrainingSpec",
]  # fmt: skip
