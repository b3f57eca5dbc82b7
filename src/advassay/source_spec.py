"""Where a study's images come from, in words: one class a kind of source.

Relative paths are resolved against the data folder (`--data`), and none may leave it; an absolute path is opened as
written, and the store keeps only its last name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advassay.attack_spec import Frozen
from advassay.rule_spec import DataPath
from advassay.slide_spec import SlideClasses, TileRules


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


class SlideSource(_Source):
    """A folder of whole slides and microscope images, cut into tiles; subfolders are looked through.

    Columns: slide_id, label, label_share (of the tile's area), x, y (level-0 pixels), level, mpp (µm per pixel of the
    tile), tissue_share, and those of the classes' table.
    """

    kind: Literal["slides"]
    path: DataPath
    tiles: TileRules = TileRules()
    classes: SlideClasses = SlideClasses()


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


Source = Annotated[TableSource | FolderSource | NpzSource | SlideSource | PhantomSource, Field(discriminator="kind")]
