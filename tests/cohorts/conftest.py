"""A small source on disk: random pictures in a CSV, with whatever columns and faults a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest

from advassay.cohorts import prepare
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import TableSource
from advassay.store_documents import Preparation

CLASSES = {"ill": {"finding": "ill"}, "well": {"finding": "well"}}
KEY = b"a key of some length"


def picture(number: int, *, bits: int = 8, shape: tuple[int, ...] = (12, 10)) -> np.ndarray:
    """A random picture, the same for the same number."""
    values = np.random.default_rng(number).integers(0, 2**bits, shape)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def rows(patients: int = 20, per_patient: int = 2) -> list[dict[str, Any]]:
    """Rows of `patients` people with `per_patient` pictures each, half of them ill."""
    return [
        {"picture": p * per_patient + i, "patient_id": f"SMITH-{p}", "finding": ("well", "ill")[p % 2],
         "age": 20 + p, "sex": "FM"[p // 2 % 2]}
        for p in range(patients)
        for i in range(per_patient)
    ]  # fmt: skip


@pytest.fixture
def people() -> Callable[..., list[dict[str, Any]]]:
    """`rows`, for tests elsewhere than here: every room has a conftest, so its name imports no one in particular."""
    return rows


@pytest.fixture
def write_source(tmp_path: Path) -> Callable[..., TableSource]:
    """Write rows (column `picture` = its number) as PNG files and a CSV; returns the source."""

    def write(table: list[dict[str, Any]], **options: Any) -> TableSource:
        (tmp_path / "data" / "files").mkdir(parents=True, exist_ok=True)
        for row in table:
            name = f"files/SMITH_{row['picture']}.png"
            cv2.imwrite(str(tmp_path / "data" / name), picture(row["picture"], **options))
        named = [{"image": f"files/SMITH_{row['picture']}.png"} | row for row in table]
        pl.DataFrame(named, infer_schema_length=None).drop("picture").write_csv(tmp_path / "data" / "table.csv")
        return TableSource(kind="table", path="table.csv")

    return write


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Preparation]:
    """Prepare a cohort of the source in tmp_path/cohort (or `folder`)."""

    def run(
        source: TableSource, *, folder: str = "cohort", key: bytes = KEY, seed: int = 0, **spec: Any
    ) -> Preparation:
        return prepare(
            "demo",
            CohortSpec(**({"source": "table", "classes": CLASSES} | spec)),
            source,
            size_px=16,
            seed=seed,
            folder=tmp_path / folder,
            data=tmp_path / "data",
            key=key,
            private=tmp_path / "private.parquet",
        )

    return run
