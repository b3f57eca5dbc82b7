"""How whole slides and microscope images become tiles, in words: which tiles are kept, and what class each has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from advassay.spec.base_model import Frozen
from advassay.spec.rule_spec import DataPath, PatientPattern


class TileRules(Frozen):
    """Squares without overlap, and the rules a tile must pass. Each rejected tile is counted under one reason."""

    size_px: int = Field(256, ge=16, le=4096)
    """Side of a tile as written, in pixels."""
    mpp: float | None = Field(None, gt=0)
    """Resolution in µm per pixel: read at the coarsest level that is at least as fine, then resampled. A level within
    2 % of it is taken as stored. Null: the pixels of `level`, as stored."""
    level: int = Field(0, ge=0)
    """Pyramid level (0 = the finest) where mpp is null."""
    assume_mpp: float | None = Field(None, gt=0)
    """µm per pixel of level 0 for slides that state none; null = such a slide is left out where mpp is asked for."""
    tissue: Literal["brightfield", "fluorescence", "any"] = "brightfield"
    """What is tissue: coloured (on grey images: dark) on a bright ground, bright on a dark ground, or everything."""
    channel: str | int | None = Field(None, exclude_if=lambda value: value is None)
    """Channel of fluorescence files that have several: its name, or its number from 0; null = they are left out."""
    min_tissue: float = Field(0.5, ge=0, le=1)
    """Least share of a tile's area that is tissue; below it the tile is background."""
    max_pen: float = Field(0.05, ge=0, le=1)
    """Largest share of a tile's area covered by marker ink (brightfield only)."""
    min_sharpness: float = Field(15.0, ge=0)
    """Least variance of the Laplacian (values 0 … 255, of the tile's sharpest channel); below it the tile is blurred.
    0 = off."""
    min_scanned: float = Field(1.0, ge=0, le=1)
    """Least share of a tile that the scanner has covered."""
    stain_normalisation: Literal["none", "macenko"] = Field("none", exclude_if=lambda value: value == "none")
    """macenko (doi:10.1109/ISBI.2009.5193250): the haematoxylin and eosin of each slide, estimated from twelve of its
    tiles, become those of a reference. none: the scanner's colours."""
    tiles_per_slide: int | None = Field(None, ge=1)
    """At most this many tiles of each slide and class, drawn by content; null = all."""
    seed: int = 0
    """Of the draw."""


class SlideClasses(Frozen):
    """Where a tile's class comes from: its slide's row in a table, regions drawn on the slide, or a mask image.

    Regions and masks go before the table, which still gives the patient and further columns.
    """

    table: DataPath | None = None
    """CSV or Parquet table with one row a slide."""
    slide: str = "slide"
    """Column of the table: the file's path in the folder, its name, or its name without ending."""
    label: str = "label"
    """Column of the table with the slide's class, where it has one."""
    mpp: str = Field("mpp", exclude_if=lambda value: value == "mpp")
    """Column of the table with the slide's µm per pixel (of level 0), where it has one. It goes before what the file
    says; slides.csv notes where they differ."""
    annotations: DataPath | None = None
    """Folder of region files named like the slides: .geojson, .json (QuPath's too) or .xml (ASAP)."""
    masks: DataPath | None = None
    """Folder of mask images named like the slides (.png, .tif, .tiff), any size of the slide's shape."""
    regions: dict[str, str] = {}
    """Region name or mask value → class; "-" cuts the region out of all others. Empty: every region's name is a class,
    every mask value other than 0 too. Regions that are not named here are ignored."""
    outside: str | None = None
    """Class of tiles that no region touches, on slides that have a region file or mask; null = they are left out."""
    min_share: float = Field(0.5, gt=0, le=1)
    """Least share of a tile's area that lies in regions of its class."""
    patient_pattern: PatientPattern | None = None
    """Regular expression on the file's name whose first group is the patient, where no table says it, e.g.
    "^(TCGA-..-....)"."""

    @model_validator(mode="after")
    def _one_kind_of_region(self) -> SlideClasses:
        if self.annotations is not None and self.masks is not None:
            raise ValueError(f"annotations or masks, not both, got {self.annotations!r} and {self.masks!r}")
        return self
