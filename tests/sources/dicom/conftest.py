"""One crew of worker processes for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from advassay.sources.dicom.crew import Crew


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    crew = Crew(1)
    yield crew
    crew.close()
