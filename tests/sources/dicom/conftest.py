"""One crew of worker processes for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from advassay.sources.dicom.worker_pool import DicomWorkerPool


@pytest.fixture(scope="session")
def crew() -> Iterator[DicomWorkerPool]:
    crew = DicomWorkerPool(1)
    yield crew
    crew.close()
