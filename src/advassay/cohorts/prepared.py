"""A prepared cohort, read back: its document, its manifest, its images, and the subsets taken from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from advassay.axes import Images
from advassay.checked_files import damaged, read_frame
from advassay.cohorts.order import order_by_patient
from advassay.cohorts.pixels import decode
from advassay.cohorts.request import HEALED, document_in
from advassay.cohorts.shards import Shards
from advassay.documents import Preparation
from advassay.errors import CohortError, StoreError
from advassay.layout import MANIFEST
from advassay.sources.ahead import ahead


class PreparedCohort:
    """What training and attacks take their images from. Picklable: worker processes open the files themselves.

    `manifest` has one row per image: image_id, label (Int64, class index), class_name, patient_id (pseudonym), role
    (training | tuning | validation), order (rank within its role, every prefix with the classes in proportion),
    parent_image_id (null: not a copy of another image), and the carried columns; bits, channels, height and
    width are those of the source's image.
    """

    def __init__(self, folder: Path, preparation: Preparation, manifest: pl.DataFrame) -> None:
        self.folder = folder
        self.preparation = preparation
        self.manifest = manifest
        self._labels: dict[str, int] = dict(manifest.select("image_id", "label").iter_rows())
        self._shards = Shards(folder)

    def images(self, image_ids: Sequence[str]) -> Images:
        """float32 (image, channel, height, width) in [0, 1], in the order asked for.

        Raises StoreError for an image_id the cohort does not have.
        """
        p = self.preparation
        out = np.empty((len(image_ids), p.channels, p.image_size_px, p.image_size_px), np.float32)
        for place, image in enumerate(image_ids):
            out[place] = decode(self._shards.png(image))
        return out

    def labels(self, image_ids: Sequence[str]) -> np.ndarray:
        """int64 (image,): class indices."""
        return np.array([self._labels[image] for image in image_ids], dtype=np.int64)

    def stream(self, image_ids: Sequence[str]) -> Iterator[tuple[str, np.ndarray, int]]:
        """(image_id, float32 (channel, height, width) in [0, 1], label), decoded a little ahead of use."""
        pngs = ((image, self._shards.png(image)) for image in image_ids)
        yield from ahead(lambda item: (item[0], decode(item[1]), self._labels[item[0]]), pngs)

    def ids(self, role: str) -> list[str]:
        """image_ids of one role (training | tuning | validation), in `order`."""
        return self.manifest.filter(pl.col("role") == role).sort("order")["image_id"].to_list()

    def training_subset(self, size: int | float, seed: int) -> list[str]:
        """`size` training images (int) or a share of the training split (float ≤ 1), classes in proportion.

        Subsets of one seed are nested, and patients enter one after another. Raises CohortError for more images
        than there are, and for so few that a class is missing.
        """
        part = self.manifest.filter(pl.col("role") == "training")
        number = round(size * part.height) if isinstance(size, float) else size
        if not 0 < number <= part.height:
            raise CohortError(
                f"train_sizes: 1 to {part.height} images, the training split of {self.preparation.cohort}, got {size}.",
                "Give a share such as 0.25, or a smaller number.",
            )
        chosen = order_by_patient(part, seed)[:number]
        if len({self._labels[image] for image in chosen}) < part["label"].n_unique():
            raise CohortError(f"train_sizes: enough images for every class to have one, got {size}.")
        return chosen

    def attack_sample(self, images: int | None) -> list[str]:
        """Validation images to attack: all, or the first `images` of the content-drawn order: samples are nested."""
        everything = self.ids("validation")
        return everything if images is None else everything[:images]


def open_cohort(folder: Path) -> PreparedCohort:
    """The cohort prepared in `folder`. Raises StoreError where none is (complete), DamagedError."""
    preparation = document_in(folder)
    if preparation is None:
        raise StoreError(f"cohort: a prepared one in {folder.name!r}, found none.", "Run `advassay prepare` first.")
    return PreparedCohort(folder, preparation, read_manifest(folder))


def read_manifest(folder: Path) -> pl.DataFrame:
    """The table of a prepared cohort's images. Raises DamagedError where it cannot be read or is not there."""
    try:
        return read_frame(folder / MANIFEST, HEALED)
    except FileNotFoundError:
        raise damaged(folder / MANIFEST, "it is not there", HEALED) from None
