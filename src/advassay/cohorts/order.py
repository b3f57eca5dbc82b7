"""Orders in which every prefix holds the classes in proportion: nested subsets are prefixes of one order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import polars as pl

from advassay.identity import draw


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
