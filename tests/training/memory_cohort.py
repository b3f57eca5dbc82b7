"""A small cohort in memory with a learnable class signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from advassay.store_documents import Preparation

SIDE = 32
ROLES = {"training": 40, "tuning": 8, "validation": 16}


class MemoryCohort:
    """The part of PreparedCohort that training reads; `sealed` roles raise when their pixels are read."""

    def __init__(
        self,
        *,
        roles: dict[str, int],
        channels: int = 1,
        bits: int = 16,
        classes: int = 2,
        sealed: tuple[str, ...] = (),
        image_type: str = "X-ray",
    ) -> None:
        rng = np.random.default_rng(7)
        role = [name for name, count in roles.items() for _ in range(count)]
        label = [k % classes for count in roles.values() for k in range(count)]
        levels = 2**bits - 1
        images = rng.random((len(role), channels, SIDE, SIDE)) * 0.5
        for k, c in enumerate(label):  # the class is where the bright bar lies
            images[k, :, :, 4 + 8 * c : 10 + 8 * c] += 0.3
        self._images = (np.rint(images * levels) / levels).astype(np.float32)
        self.image_ids = [f"{k:016x}" for k in range(len(role))]
        self.manifest = pl.DataFrame({"image_id": self.image_ids, "label": label, "role": role})
        self.sealed = sealed
        self.read: list[str] = []
        names = tuple(f"class{c}" for c in range(classes))
        self.preparation = Preparation(
            cohort="X-MEM",
            identity="0" * 16,
            title="",
            image_type=image_type,
            class_names=names,
            positive=names[0],
            counts={},
            patients={},
            image_size_px=SIDE,
            channels=channels,
            bits=bits,
            scaling="full-range",
            resize="squash",
            split="image",
            cluster="patient_id",
            without_patient=0,
            patients_known=True,
            candidates=len(role),
            flow=(),
            left_out=(),
            spec={},
        )

    def ids(self, role: str) -> list[str]:
        return self.manifest.filter(pl.col("role") == role)["image_id"].to_list()

    def images(self, image_ids: Sequence[str]) -> np.ndarray:
        roles = set(self.manifest.filter(pl.col("image_id").is_in(list(image_ids)))["role"])
        if roles & set(self.sealed):
            raise AssertionError(f"pixels of {sorted(roles & set(self.sealed))} images were read")
        self.read.extend(image_ids)
        position = {image_id: k for k, image_id in enumerate(self.image_ids)}
        return self._images[[position[image_id] for image_id in image_ids]]
