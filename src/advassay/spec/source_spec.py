"""Where a study's images come from, in words: one class a kind of source, and the registry of the kinds.

Relative paths are resolved against the data folder (`--data`), and none may leave it; an absolute path is opened as
written, and the store keeps only its last name. How a kind is opened and recognised again stands beside its
registration, in a file of `sources/kinds/` or in a package that declares an entry point; a class of such a package need
not stand here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from advassay.registry import Registry
from advassay.spec.base_model import Frozen
from advassay.spec.rule_spec import DataPath, Name, PathInSource, PatientPattern, last_name, map_data_paths
from advassay.spec.tile_spec import SlideClasses, TileRules


class SourceSpec(Frozen):
    """A source as a study names it. Each kind derives a class whose field `kind` is a Literal with the kind's name.

    A path that starts from the data folder is a DataPath (spec/rule_spec.py): that is how the store finds what to cut.
    """

    if TYPE_CHECKING:
        kind: str
    image_type: str | None = None
    """Default image type of its images (X-ray, histology, …); a cohort's own wins."""
    patient_id: str = "patient_id"
    """Column that says which images belong together (the cluster of every interval).

    A row without a value is its own patient.
    """

    states_window: ClassVar[bool] = False
    """Whether its files state a VOI window, which a cohort may then ask for (`scaling: voi`)."""
    shows_images: ClassVar[bool] = True
    """Whether a study that does not say keeps a few of its images for figures."""

    def names_patients(self) -> bool:
        """Whether patients of this source may be known, so that the key of their pseudonyms matters."""
        return True

    def without_folders(self) -> Self:
        """The source as a store may show it: of absolute paths only the last name."""
        return map_data_paths(self, last_name)


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
    encoding: str | None = Field(None, exclude_if=lambda value: value is None)
    """Encoding of a CSV table of reports ("cp1251"); not given = as its byte order mark says, else UTF-8."""

    @model_validator(mode="after")
    def _one_language(self) -> ReportSpec:
        if (self.language is None) == (self.language_column is None):
            raise ValueError(
                f"reports: give language or language_column, one of them, got {self.language!r} and "
                f"{self.language_column!r}"
            )
        return self


class ReportedSource(SourceSpec):
    """A source that names patients, and whose images may have reports."""

    reports: ReportSpec | None = Field(None, exclude_if=lambda value: value is None)
    """Radiology reports that belong to the images."""  # left out of identities where it is not used

    def without_folders(self) -> Self:
        """The source as a store may show it: of absolute paths only the last name, a vocabulary's too."""
        shown = super().without_folders()
        if shown.reports is None or shown.reports.language is None:
            return shown
        reports = shown.reports.model_copy(update={"language": last_name(shown.reports.language)})
        return shown.model_copy(update={"reports": reports})


class TableSource(ReportedSource):
    """A CSV or Parquet table with a column of image paths, relative to the table's folder or to `images`."""

    kind: Literal["table"]
    path: DataPath
    image: str = "image"
    """Column with the image path."""
    images: DataPath | None = Field(None, exclude_if=lambda value: value is None)
    """Folder of the images, relative to the data folder; null = the table's. A name without a folder is looked for in
    its whole tree."""
    ending: str | None = Field(None, pattern=r"^\.[A-Za-z0-9]+$", exclude_if=lambda value: value is None)
    """Ending of the files, e.g. .png, where the column's values have none."""
    patient_pattern: PatientPattern | None = Field(None, exclude_if=lambda value: value is None)
    """Regular expression on the image's file name (on its whole path, where the pattern has a /) whose first group is
    the patient, for rows that have none in the column `patient_id`, e.g. "^(person[0-9]+)_"."""


IMAGE_KINDS = ("radiograph", "secondary capture")


class DicomSource(ReportedSource):
    """DICOM radiographs. Headers are read first; what the fields below refuse is left out with the reason.

    columns: age (years; null = unknown), sex (F | M | O), view (PA | AP | lateral | oblique | decubitus | other),
    body_part, modality, laterality, year, photometric, bits_stored, pixel_spacing_mm, voi (lut | linear | linear_exact
    | sigmoid | none), transfer_syntax, presentation_intent (presentation | processing), image_kind (radiograph |
    secondary capture | drawing | bone suppressed | tomographic | quality control), derivation (original | derived),
    orientation (standard | mirrored | upside down | rotated by 180° | lying | other), fov_flipped, fov_rotation
    (degrees); ids, which rules and reports may use and which never travel in clear: patient_id, study_instance_uid,
    series_instance_uid, sop_instance_uid, and accession_number where `reports.key` asks for it.
    """

    states_window: ClassVar[bool] = True
    shows_images: ClassVar[bool] = False

    kind: Literal["dicom"]
    path: DataPath
    """A folder (its whole tree is read), a DICOMDIR, or a text file with one path per line, relative to its folder."""
    modalities: tuple[str, ...] = ("CR", "DX")
    """(0008,0060) Modality accepted; an image without one is left out. DR, XR and RX are read as DX."""
    for_processing: Literal["leave-out", "keep"] = Field("leave-out", exclude_if=lambda value: value == "leave-out")
    """Raw images, (0008,0068) Presentation Intent Type FOR PROCESSING: most of them are negatives of the same film."""
    image_kinds: tuple[str, ...] = Field(IMAGE_KINDS, exclude_if=lambda value: value == IMAGE_KINDS)
    """Kinds of images accepted (column image_kind); empty = any. Bone-suppressed and dual-energy images, tomographic
    ones, drawings and quality control are left out unless named here."""
    orientation: Literal["as-stored", "turn"] = Field("as-stored", exclude_if=lambda value: value == "as-stored")
    """turn: an image whose (0020,0020) Patient Orientation says that it is mirrored, upside down or lying is turned so
    that the patient's left is on its right. Images that do not say stay as they are."""
    body_parts: tuple[str, ...] = ("chest",)
    """Body parts accepted, in groups (chest, pelvis, head …: dicom/tags.py); empty = any. From (0018,0015) Body Part
    Examined, else (0008,2218) Anatomic Region Sequence, else the descriptions of series, protocol and study."""
    views: tuple[str, ...] = ("PA", "AP")
    """Views accepted; empty = any. From (0018,5101) View Position, else (0054,0220) View Code Sequence, else the
    descriptions of series and protocol; a lateral one also from the study's and from Patient Orientation."""
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
    """Clipped: more than this share of the pixels has the lowest or the highest value of the image. Two-level: of the
    share that this leaves to others (1 − most_clipped), less than an eighth lies between the two. These rules and
    least_contrast look at the stored values and, with scaling: voi, at what the window leaves of them; pixels declared
    as padding or behind a shutter do not count."""


class FolderSource(SourceSpec):
    """One subfolder per class, whose name becomes the column `label`; `folders` names further levels."""

    kind: Literal["folder"]
    path: DataPath
    folders: tuple[str, ...] = Field(("label",), min_length=1, exclude_if=lambda value: value == ("label",))
    """What the folders of each level are, outermost first: the column that their names become, "-" for a level without
    meaning. E.g. [split, label] for train/normal/1.png, [label, patient_id], or [label, part] for normal/masks/1.png.
    """
    patient_pattern: PatientPattern | None = Field(None, exclude_if=lambda value: value is None)
    """Regular expression on the image's file name (on its path below the folder, where the pattern has a /) whose first
    group is the patient, e.g. "^(person[0-9]+)_". An image whose name does not match is its own patient."""

    @field_validator("folders")
    @classmethod
    def _levels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = [level for level in value if level != "-"]
        own = sorted({"row", "path", "original_patient", "image_type"} & set(named))
        if "label" not in named or len(set(named)) < len(named) or own or not all(named):
            raise ValueError(
                f"folders: names of columns, each once, label among them and none of ours, got {list(value)}"
            )
        return value

    def names_patients(self) -> bool:
        """Whether a pattern or a level of folders says who the patient is."""
        return self.patient_pattern is not None or self.patient_id in self.folders


class NpzSource(SourceSpec):
    """A MedMNIST .npz (2-D): column `label` = class index as text, column `split` = training | tuning | validation."""

    kind: Literal["npz"]
    path: DataPath

    def names_patients(self) -> bool:
        """Never: such a file names none."""
        return False


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

    images: PathInSource
    """File with an array of images: (image, height, width) or (image, height, width, 3), 8 or 16 bits."""
    labels: PathInSource
    """File with an array of as many whole numbers."""
    table: PathInSource | None = None
    """CSV with a row for each image, in the same order."""


class Hdf5Source(SourceSpec):
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

    def names_patients(self) -> bool:
        """Never: the arrays are of public data sets."""
        return False


class SlideSource(SourceSpec):
    """A folder of whole slides and microscope images, cut into tiles; subfolders are looked through.

    Columns: slide_id, label, label_share (of the tile's area), x, y (level-0 pixels), level, mpp (µm per pixel of the
    tile), tissue_share, and those of the classes' table.
    """

    kind: Literal["slides"]
    path: DataPath
    tiles: TileRules = TileRules()
    classes: SlideClasses = SlideClasses()


class PhantomSource(SourceSpec):
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

    def names_patients(self) -> bool:
        """Never: its patients are made up."""
        return False


class SourceKindFacts(ABC):
    """A kind of source as seen from outside the room that reads it. What has no value here, each kind must say."""

    name: str
    """As written in study files: `kind: table`."""
    spec: type[SourceSpec]
    """Its fields in a study file; their docstrings are what `advassay schema` prints."""

    @abstractmethod
    def open(self, source: Any, request: Any) -> Any:
        """The source's table read, its images on demand (sources.source_opener.SourceKind)."""

    @abstractmethod
    def fingerprint(self, source: Any, request: Any) -> str:
        """What the source holds now, as a text that changes with it (sources.source_opener.SourceKind)."""

    def redact(self, source: Any) -> Any:
        """What of the source a store may show: nothing that tells where it lies or whom it shows."""
        return source.without_folders()


SOURCE_KINDS: Registry[SourceKindFacts] = Registry(
    "kind",
    SourceKindFacts,  # type: ignore[type-abstract]
    package="advassay.sources.kinds",
    group="advassay.sources",
)


@dataclass(frozen=True)
class SpecOfKind:
    """Annotation of a pydantic field that takes the spec of any registered kind of source, chosen by its field `kind`.

    The JSON schema lists the kinds that are registered when it is made.
    """

    def specs(self) -> tuple[type[SourceSpec], ...]:
        """The class of each registered kind. Those of other distributions are imported for it."""
        return tuple(kind.spec for kind in SOURCE_KINDS.parts())

    def validate(self, value: Any) -> SourceSpec:
        """The source that a mapping describes; a source is given back as it is."""
        if isinstance(value, SourceSpec):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"expected fields of a source, got {type(value).__name__}")
        if "kind" not in value:
            raise ValidationError.from_exception_data(
                "source", [{"type": "missing", "loc": ("kind",), "input": value, "ctx": {}}]
            )
        found = SOURCE_KINDS.find(value["kind"])
        if found is None:
            refusal = SOURCE_KINDS.refusal(value["kind"]).removeprefix(f"{SOURCE_KINDS.kind}: ")
            raise ValidationError.from_exception_data(
                "source",
                [{"type": "value_error", "loc": ("kind",), "input": value["kind"], "ctx": {"error": refusal}}],
            )
        return found.spec.model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """`validate`; written out by the class that a source is of, not by the base class that the field names."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """The kinds as alternatives that `kind` tells apart."""
        union: Any = Union[self.specs()]  # noqa: UP007 (of classes that are known only now)
        alternatives: dict[str, Any] = handler(TypeAdapter(Annotated[union, Field(discriminator="kind")]).core_schema)
        return alternatives


Source = Annotated[SourceSpec, SpecOfKind()]


def names_patients(source: SourceSpec) -> bool:
    """Whether patients of this source may be known, so that the key of their pseudonyms matters."""
    return source.names_patients()
