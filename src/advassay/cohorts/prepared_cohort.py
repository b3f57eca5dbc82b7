"""A prepared cohort, read back: its document, manifest and images, and the nested subsets taken from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from advassay.array_types import Images
from advassay.checked_files import damaged, read_frame
from advassay.cohorts.image_preparation import decode
from advassay.cohorts.image_shards import Shards
from advassay.cohorts.preparation_json import HEALED, document_in
from advassay.errors import CohortError, StoreError
from advassay.identity import draw
from advassay.sources.base import prefetch
from advassay.store_documents import Preparation
from advassay.store_layout import MANIFEST


def proportional_order(image_ids: Sequence[str], labels: Sequence[int], key: Callable[[str], object]) -> list[str]:
    """All `image_ids`, ordered so that every prefix has the classes in proportion (to within rounding).

    Within a class the order is that of `key`; image i of a class of n stands at (i + 0.5) / n of the whole.

    >>> proportional_order(["a", "b", "c", "d", "e", "f"], [0, 0, 0, 0, 1, 1], key=str)
    ['a', 'e', 'b', 'c', 'f', 'd']
    """
    classes: defaultdict[int, list[str]] = defaultdict(list)
    for image, label in zip(image_ids, labels, strict=True):
        classes[label].append(image)
    placed = [
        ((place + 0.5) / len(members), label, image)
        for label, members in sorted(classes.items())
        for place, image in enumerate(sorted(members, key=key))  # type: ignore[arg-type]
    ]
    return [image for _, _, image in sorted(placed)]


def order_by_draw(image_ids: Sequence[str], labels: Sequence[int], seed: int) -> list[str]:
    """Proportional order with the images of each class drawn by content: what attack samples are prefixes of."""
    return proportional_order(image_ids, labels, key=lambda image: (draw(seed, "order", image), image))


def order_by_patient(part: pl.DataFrame, seed: int) -> list[str]:
    """Proportional order in which patients come one after another: what training subsets are prefixes of.

    `part`: image_id, label, patient_id. Patients are drawn by (seed, their smallest image_id), so the pseudonym
    plays no role, and a subset holds whole patients but for those at its end.
    """
    first = dict(part.group_by("patient_id").agg(pl.col("image_id").min()).iter_rows())
    rank = {patient: (draw(seed, "training-subset", image), image) for patient, image in first.items()}
    keys = {image: (*rank[patient], image) for image, patient in part.select("image_id", "patient_id").iter_rows()}
    return proportional_order(part["image_id"].to_list(), part["label"].to_list(), key=keys.__getitem__)


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
        yield from prefetch(lambda item: (item[0], decode(item[1]), self._labels[item[0]]), pngs)

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
