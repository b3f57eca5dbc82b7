"""A study file may name any path; what lies there is not printed where it is no data of the study's."""

from __future__ import annotations

from pathlib import Path

import pytest

from advassay.errors import SourceError
from advassay.sources import open_source
from advassay.spec.source_spec import TableSource


@pytest.mark.parametrize("how", ["absolute", "link"])
@pytest.mark.parametrize("text", ["root:secret:0:0\nx:y:1:1\n", "secret,secret\n1,2\n"])
def test_an_error_prints_nothing_of_a_file_outside_the_data_folder(text: str, how: str, tmp_path: Path) -> None:
    outside, data = tmp_path / "passwd.csv", tmp_path / "data"
    outside.write_text(text)
    data.mkdir()
    (data / "link.csv").symlink_to(outside)
    path = str(outside) if how == "absolute" else "link.csv"
    with pytest.raises(SourceError) as error:
        open_source("s", TableSource(kind="table", path=path), data)
    assert "secret" not in str(error.value)
    assert "nothing of it is printed" in error.value.fix


def test_an_error_names_the_columns_of_a_table_inside_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("picture,label\na.png,1\n")
    with pytest.raises(SourceError, match="picture"):
        open_source("s", TableSource(kind="table", path="t.csv"), tmp_path)
