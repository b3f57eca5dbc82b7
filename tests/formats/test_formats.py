"""Every format ever written still opens; one from the future is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advassay.errors import FormatError
from advassay.records import open_records

HERE = Path(__file__).parent


def test_a_store_of_format_1_opens_whole() -> None:
    records = open_records(HERE / "v1")
    assert records.cohorts == ["X-TB"]
    assert records.arms == ["A"]
    assert records.headers[0].format_version == "1"
    rows = records.runs[0].rows()
    assert rows.logits.shape == (16, 4, 2)
    assert rows.logits.dtype == np.float32
    assert sorted(set(rows.epsilon)) == [0.02, 0.1]
    assert records.preparations["X-TB"].class_names == ("tuberculosis", "norm")
    assert len(records.trainings) == 1
    assert len(records.gallery()) == 4
    assert records.outcomes().collect().height == 16 * 4


def test_the_numbers_of_the_format_1_store_have_not_moved() -> None:
    rows = open_records(HERE / "v1").runs[0].rows()
    assert float(rows.logits[0, -1, 0]) == pytest.approx(FIRST_ROW_LAST_LOGIT, abs=0)
    assert rows.image_id[0] == FIRST_IMAGE


def test_a_store_from_the_future_is_refused() -> None:
    with pytest.raises(FormatError, match=r"expected records format 1 or older, got '2'.*newer advassay"):
        open_records(HERE / "from-the-future")


FIRST_IMAGE = "076666f12ee63bff"
FIRST_ROW_LAST_LOGIT = 0.0
