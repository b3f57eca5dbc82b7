"""What a study group is, in words: who is in, how images are prepared, how they are split."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from advassay.spec.base_model import Frozen
from advassay.spec.rule_spec import DataPath, Rules
from advassay.spec.source_spec import PhantomSource


class Published(Frozen):
    """What the reference study states about a cohort (Kovalev & Voynov 2019, Table 1)."""

    images: int
    score: float


class RegionSpec(Frozen):
    """The part of each image that a cohort shows. Give find, box or mask, one of them.

    Written short: `region: aorta` is `region: {find: aorta}`. An image in which the region is not found, or not surely
    enough, is left out with a reason.
    """

    find: Literal["aorta", "left-lung", "right-lung", "lungs"] | None = None
    """Found in a frontal chest X-ray: a square around the aortic arch, one lung field, or both. Left and right are the
    patient's."""
    box: tuple[float, float, float, float] | None = None
    """left, top, right, bottom as shares of the image's width and height."""
    mask: str | None = None
    """Column with the path of a mask image (relative to the table's folder): the box around all that is not 0."""
    side_mm: float = Field(120.0, gt=0)
    """aorta: side of the square in millimetres. Where an image's pixel spacing is not known, its thorax is taken to be
    280 mm wide."""
    margin: float = Field(0.05, ge=0, le=1)
    """lungs, mask: added on every side, as a share of the box' width and height."""
    pixel_spacing: str = "pixel_spacing_mm"
    """Column with the distance of neighbouring pixels in mm: a number, or a text of two, down then across
    (DICOM Pixel Spacing). Need not be there."""
    least_confidence: float = Field(0.5, ge=0, le=1)
    """Regions found with less are left out, unless they are accepted by hand."""
    accept: DataPath | None = None
    """CSV with a column image_id: regions kept whatever their confidence. Its columns left, top, right, bottom (pixels
    of the stored image), where filled, replace what was found."""
    reject: DataPath | None = None
    """CSV with a column image_id: images left out by hand."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"find": value} if isinstance(value, str) else value

    @field_validator("box")
    @classmethod
    def _inside(cls, value: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if value is not None and not (0 <= value[0] < value[2] <= 1 and 0 <= value[1] < value[3] <= 1):
            raise ValueError(f"box: [left, top, right, bottom] within [0, 1], left < right, top < bottom, got {value}")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> RegionSpec:
        given = [name for name in ("find", "box", "mask") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"region: give find, box or mask, one of them, got {' and '.join(given) or 'none'}")
        return self

    def without_folders(self) -> RegionSpec:
        """As a store shows it: of an absolute path of a list only the last name."""
        lists = {"accept": self.accept, "reject": self.reject}
        absolute = {name: path for name, path in lists.items() if path and PurePath(path).is_absolute()}
        return self.model_copy(update={name: PurePath(path).name for name, path in absolute.items()})


class AugmentationSpec(Frozen):
    """Changed copies of one class's images, made once, before training, so that the class reaches a stated size.

    Each strength is the largest change; a copy's own is drawn uniformly from −strength … strength.
    """

    class_: str = Field(alias="class")
    """The class that gets copies."""
    to: int = Field(ge=1, le=10_000_000)
    """Images the whole class has with its copies, if every side gets them; a side is brought to its own share (80/20
    of 14,000: 11,200 and 2,800). Scaled by --scale."""
    sides: Literal["training", "both", "before-split"] = "training"
    """training: copies of training images only, after the split (tuning and validation images stay as they are).
    both: each side has copies of its own images only. before-split: copies are dealt to the sides like images of their
    own, so that the network is scored on copies of what it was trained on: to reproduce studies that did so; it warns.
    """
    rotation_deg: float = Field(7.0, ge=0, le=180)
    shift: float = Field(0.05, ge=0, le=0.5)
    """Across and down, as a share of the image's width and height."""
    scale: float = Field(0.08, ge=0, lt=1)
    """Enlarged or reduced by this share."""
    shear_deg: float = Field(4.0, ge=0, le=45)
    intensity: float = Field(0.1, ge=0, lt=1)
    """Contrast about the image's mean, and brightness, each by a factor 1 − intensity … 1 + intensity."""
    elastic: float = Field(0.01, ge=0, le=0.1)
    """Smooth displacement of up to this share of the image's smaller side."""

    @model_validator(mode="after")
    def _changes_something(self) -> AugmentationSpec:
        strengths = (self.rotation_deg, self.shift, self.scale, self.shear_deg, self.intensity, self.elastic)
        if not any(strengths):
            raise ValueError("augmentation: at least one strength above 0, got 0 for all: every copy would be the same")
        return self


DESCRIPTIVE = {"title", "image_type", "positive", "published", "seeds", "train_sizes", "train_seeds", "phantom"}
"""Fields of a CohortSpec that change what is said about a cohort, not what is in it."""


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
    other_findings: Literal["allowed", "excluded"] = Field("allowed", exclude_if=lambda value: value == "allowed")
    """excluded: an image is left out where a finding that neither `where` nor its class's rules name is present or
    uncertain. Findings: the columns pneumosclerosis, emphysema, fibrosis, pneumonia, focal_shadows, bronchitis,
    tuberculosis, aortic_rotation, as far as the source has them."""
    images_per_patient: Literal["all", "one"] = Field("all", exclude_if=lambda value: value == "all")
    """one: of every patient one image, drawn by content before the classes are balanced."""
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
    split: Literal["patient", "image", "declared", "none", "tuning"] = "patient"
    """patient: all images of a patient on one side; image: as the paper did; declared: column `split` of the source
    (training | tuning | validation). For attacking a given model, none: every image is a validation image; tuning:
    tuning_fraction of the patients are tuning images, on which amplitudes are found, all others validation images."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    tuning_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the training patients used for model selection only."""
    augmentation: AugmentationSpec | None = Field(None, exclude_if=lambda value: value is None)
    """Copies that bring one class to a stated size; null = none."""
    image_size_px: int | None = Field(None, ge=8, le=8192)
    """Side in pixels; the study's if not given."""
    channels: Literal[1, 3] | None = None
    """Channels kept; null = 1 where every image is grey, else 3."""
    region: RegionSpec | None = Field(None, exclude_if=lambda value: value is None)
    """The part of each image that is kept, e.g. aorta; null = the whole image."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    """How a non-square image becomes square: change the aspect, cut the centre, or pad with black."""
    scaling: Literal["full-range", "percentile", "voi"] = "full-range"
    """How stored values become [0, 1]: full-range = value / largest storable value; percentile = 0.5th–99.5th of
    each image; voi (DICOM) = through each image's own VOI LUT or window, as a viewer shows it.
    """
    seeds: int = Field(1, ge=1, exclude_if=lambda value: value == 1)
    """Main networks of the cohort, trained alike but for their seeds (training.seed, the next one, …), each attacked by
    every arm. Two or more show how much the results vary between trainings; each costs as much as the first."""
    train_sizes: tuple[int | float, ...] = ()
    """Training-size series: numbers of training images (int, scaled by --scale) or shares of the split (float ≤ 1)."""
    train_seeds: tuple[int, ...] = (0,)
    """Seeds of the size series; each size is trained once per seed."""
    positive: str | None = None
    """The class whose detection is sensitivity; null = the first class."""
    phantom: PhantomSource | None = None
    """What `--source phantoms` uses in place of the source."""
    published: Published | None = None

    @property
    def is_trained_on(self) -> bool:
        """Whether the split has training images; false where a given model is attacked."""
        return self.split not in ("none", "tuning")

    @model_validator(mode="after")
    def _names_and_shares_fit(self) -> CohortSpec:
        if self.positive and self.positive not in self.classes:
            raise ValueError(f"positive: one of {list(self.classes)}, got {self.positive!r}")
        if any(size <= 0 or (isinstance(size, float) and size > 1) for size in self.train_sizes):
            raise ValueError(f"train_sizes: images (1 or more) or shares (up to 1.0), got {list(self.train_sizes)}")
        return self

    @model_validator(mode="after")
    def _augmentation_fits(self) -> CohortSpec:
        if self.augmentation is None:
            return self
        if self.augmentation.class_ not in self.classes:
            raise ValueError(f"augmentation.class: one of {list(self.classes)}, got {self.augmentation.class_!r}")
        if self.augmentation.sides == "before-split" and self.split != "image":
            raise ValueError(
                "augmentation.sides: before-split needs `split: image` (whole patients take their copies along), got "
                f"split: {self.split}"
            )
        return self
