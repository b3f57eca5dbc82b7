"""What a study group is, in words: who is in, how images are prepared, how they are split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from advassay.attack_spec import Frozen
from advassay.rule_spec import Rules
from advassay.source_spec import PhantomSource


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
