"""Where a study's images come from, in words: one class a kind of source.

Relative paths are resolved against the data folder (`--data`), and none may leave it; an absolute path is opened as
written, and the store keeps only its last name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advassay.attack_spec import Frozen
from advassay.rule_spec import DataPath, Name
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


class ReportedSource(_Source):
    """A source that names patients, and whose images may have reports."""

    reports: ReportSpec | None = Field(None, exclude_if=lambda value: value is None)
    """Radiology reports that belong to the images."""  # left out of identities where it is not used


class TableSource(ReportedSource):
    """A CSV or Parquet table with a column of image paths (relative to the table's folder)."""

    kind: Literal["table"]
    path: DataPath
    image: str = "image"
    """Column with the image path."""


class DicomSource(ReportedSource):
    """DICOM radiographs. Headers are read first; what the fields below refuse is left out with the reason.

    columns: age (years; null = unknown), sex (F | M | O), view (PA | AP | lateral | oblique | other), body_part,
    modality, laterality, year, photometric, bits_stored, pixel_spacing_mm, voi (lut | linear | linear_exact | sigmoid |
    none), transfer_syntax; ids, which rules and reports may use and which never travel in clear: patient_id,
    study_instance_uid, series_instance_uid, sop_instance_uid, and accession_number where `reports.key` asks for it.
    """

    kind: Literal["dicom"]
    path: DataPath
    """A folder (its whole tree is read), a DICOMDIR, or a text file with one path per line, relative to its folder."""
    modalities: tuple[str, ...] = ("CR", "DX")
    """(0008,0060) Modality accepted; an image without one is left out."""
    body_parts: tuple[str, ...] = ("chest",)
    """(0018,0015) Body Part Examined accepted, in groups (chest, pelvis, head …: dicom/tags.py); empty = any."""
    views: tuple[str, ...] = ("PA", "AP")
    """(0018,5101) View Position accepted; empty = any."""
    unstated: Literal["keep", "leave-out"] = "keep"
    """Images that state no body part or no view: many de-identified archives lost both tags."""
    smallest_side_px: int = Field(200, ge=1)
    """Far too small: the shorter side has fewer pixels."""
    longest_aspect: float = Field(2.0, ge=1)
    """Wrong aspect: the longer side is more than this many times the shorter one, in millimetres where known."""
    most_pixels: int = Field(64_000_000, ge=1, le=400_000_000)
    """Rows × columns beyond which an image is refused by its header, before anything is decoded."""
    least_contrast: float = Field(0.01, ge=0, le=1)
    """Almost constant: the 0.5th and the 99.5th percentile of the stored values are closer than this share of the range
    that the stored bits hold."""
    most_clipped: float = Field(0.6, gt=0, le=1)
    """Clipped: more than this share of the pixels has the lowest or the highest stored value of the image."""


class FolderSource(_Source):
    """One subfolder per class; the subfolder's name becomes the column `label`."""

    kind: Literal["folder"]
    path: DataPath


class NpzSource(_Source):
    """A MedMNIST .npz (2-D): column `label` = class index as text, column `split` = training | tuning | validation."""

    kind: Literal["npz"]
    path: DataPath


class DatasetSource(ReportedSource):
    """A public data set in a folder, as its authors publish it, read by its recipe.

    Columns: those that `advassay datasets show RECIPE` lists.
    """

    kind: Literal["dataset"]
    recipe: Name
    """Name of the recipe, see `advassay datasets`."""
    path: DataPath


class Hdf5Part(Frozen):
    """One side of an HDF5 source. File names are relative to the source's folder."""

    images: DataPath
    """File with an array of images: (image, height, width) or (image, height, width, 3), 8 or 16 bits."""
    labels: DataPath
    """File with an array of as many whole numbers."""
    table: DataPath | None = None
    """CSV with a row for each image, in the same order."""


class Hdf5Source(_Source):
    """A folder of HDF5 files with arrays of images.

    Columns: `label` = the whole number as text, `split`, and those of the parts' tables.
    """

    kind: Literal["hdf5"]
    path: DataPath
    images_array: str = "x"
    """Name of the array in each file of images."""
    labels_array: str = "y"
    parts: dict[Literal["training", "tuning", "validation"], Hdf5Part] = Field(min_length=1)
    """The declared side of each part's images."""


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
    histology columns: organ, tissue (tumour | normal), label (the same, as tiles of slides have it), slide_id.
    """

    kind: Literal["phantoms"]
    phantom: Literal["chest", "histology"]
    images: int = Field(400, ge=1, le=5_000_000)
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


Source = Annotated[
    TableSource | DicomSource | FolderSource | NpzSource | DatasetSource | Hdf5Source | SlideSource | PhantomSource,
    Field(discriminator="kind"),
]
