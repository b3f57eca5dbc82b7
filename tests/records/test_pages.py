"""Shards and tables whose bytes were changed, or that decode to far more than they are."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blocks import IMAGES, block, header, writer

from advassay.checked_files import read_frame
from advassay.errors import AdvassayWarning, DamagedError
from advassay.parquet_limits import TooLarge, check_decoded_size, check_pages, chunks
from advassay.records import Account, Run, open_records
from advassay.records.row_shards import check_whole, is_whole, read_rows, write_shard

LONG = "x" * (1 << 20)
ROWS = 1500


def repeated(values: list[object]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), pa.array(values))


def columns() -> dict[str, pa.Array]:
    """Columns of 1.5 GB in files of a few hundred bytes."""
    offsets = pa.array(np.arange(ROWS + 1, dtype=np.int32))
    return {
        "text": repeated([LONG]),
        "bytes": repeated([LONG.encode()]),
        "list of text": pa.ListArray.from_arrays(offsets, repeated([LONG])),
        "structure": pa.StructArray.from_arrays([repeated([LONG])], names=["x"]),
    }


@pytest.mark.parametrize("kind", columns())
def test_a_column_that_decodes_to_far_more_than_the_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"a": columns()[kind]}), path, use_dictionary=True, store_schema=False, compression="zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge):
        check_decoded_size(path)
    with pytest.raises(DamagedError, match=r"bomb\.parquet"):
        read_frame(path, "fix")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize("kind", ["bytes", "list of text", "structure"])
def test_a_table_of_the_store_has_no_nested_column_and_no_bytes(kind: str, tmp_path: Path) -> None:
    small = {
        "bytes": pa.array([b"a"]), "list of text": pa.array([["a"]]), "structure": pa.array([{"x": "a"}]),
    }[kind]  # fmt: skip
    pq.write_table(pa.table({"a": small}), tmp_path / "odd.parquet")
    with pytest.raises(DamagedError, match="columns of texts and numbers are needed"):
        read_frame(tmp_path / "odd.parquet", "fix")


@pytest.mark.parametrize("length", [1 << 20, 300])
def test_a_shard_with_long_keys_is_damaged_and_not_decoded(length: int, tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(IMAGES))
    [path] = (tmp_path / "shards").glob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    table = pa.concat_tables([table] * 8)
    place = table.schema.get_field_index("step_size")
    long = pa.array(["x" * length] * table.num_rows)
    bomb = path.with_name("aaaa.parquet")
    pq.write_table(table.set_column(place, table.schema.field(place), long), bomb, compression="zstd",
                   use_dictionary=["image_id", "step_size"], write_page_checksum=True)  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(AdvassayWarning, match=r"damaged shard.*aaaa\.parquet"):
        assert open_records(tmp_path).damaged == {header().run_id: ("aaaa.parquet",)}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_pages_that_say_they_are_larger_than_the_footer_says_are_refused_before_they_are_decoded(
    tmp_path: Path,
) -> None:
    path, rows = tmp_path / "lies.parquet", 15_000
    zeros = pa.table({"a": pa.array(["0" * 100] * (2 * rows))})
    pq.write_table(zeros, path, use_dictionary=False, compression="zstd", row_group_size=rows, data_page_size=1 << 22)
    check_pages(path)
    data, about = bytearray(path.read_bytes()), pq.read_metadata(path)
    for group in map(about.row_group, range(2)):
        at = group.column(0).data_page_offset + 2  # after field 1, the page's type: field 2, its decompressed size
        assert data[at] == 0x15
        assert data[at + 4] < 0x80 <= min(data[at + 1 : at + 4])
        data[at + 1 : at + 5] = bytes([0xFE, 0xFF, 0xFF, 0x7F])  # 128 MiB
    path.write_bytes(data)
    assert pq.read_metadata(path).row_group(0).total_byte_size < 1 << 22
    with pytest.raises(TooLarge):
        check_pages(path)


def test_pages_that_do_not_fill_their_column_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.parquet"
    pq.write_table(pa.table({"a": pa.array(np.arange(100.0))}), path, use_dictionary=False, compression="none")
    data, [chunk] = bytearray(path.read_bytes()), chunks(path)
    assert chunk.values == 100
    at = data.index(0x15, pq.read_metadata(path).row_group(0).column(0).data_page_offset + 3)  # compressed size
    data[at + 1] ^= 2
    path.write_bytes(data)
    with pytest.raises(pa.ArrowException):
        check_pages(path)


def test_a_flipped_bit_anywhere_in_a_shard_is_found_or_changes_nothing(tmp_path: Path) -> None:
    written = block(IMAGES)
    path = write_shard(tmp_path, written, Account(notes=("x",)))
    data = path.read_bytes()
    found = 0
    for at in range(4, len(data), 11):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            check_whole(path)
        except ValueError:
            found += 1
            assert not is_whole(path)
            continue
        try:
            rows = read_rows(path)
        except DamagedError:
            continue  # a page's header, in a part that only decoding meets
        for name in ("image_id", "epsilon", "label", "logits", "linf", "ssim", "scored_float32"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(written, name))
    assert found > len(data) / 11 * 0.8


def test_a_flipped_bit_in_logits_is_said_when_the_store_is_opened(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(["image0"]))
    opened.append(block(["image1"]))
    [victim, _] = sorted((tmp_path / "shards").glob("*.parquet"))
    assert not Run(tmp_path).damaged
    group = pq.read_metadata(victim).row_group(0)
    logits = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("logits"))
    data = bytearray(victim.read_bytes())
    data[logits.data_page_offset + logits.total_compressed_size // 2] ^= 4
    victim.write_bytes(data)
    with pytest.warns(AdvassayWarning, match="4 of 8 rows are missing, 5 of 6 images"):
        records = open_records(tmp_path)
    assert records.damaged == {header().run_id: (victim.name,)}
    assert records.outcomes().collect()["image_id"].n_unique() == 1


def test_numbers_that_are_none_come_back_from_an_account() -> None:
    one = Account(largest={"largest": float("nan")}, band=float("inf"), seconds=float("inf"))
    back = Account.model_validate_json(one.model_dump_json())
    assert np.isnan(back.largest["largest"])
    assert (back.band, back.seconds) == (float("inf"), float("inf"))


def test_a_flat_table_of_long_texts_is_still_read(tmp_path: Path) -> None:
    texts = [f"{number} " * 50 for number in range(2000)]
    pq.write_table(pa.table({"report": texts}), tmp_path / "t.parquet")
    check_decoded_size(tmp_path / "t.parquet")
    assert read_frame(tmp_path / "t.parquet", "fix")["report"].to_list() == texts
