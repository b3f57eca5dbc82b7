"""How large a Parquet table is once decoded: a dictionary or a run length lets a few bytes stand for gigabytes."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SMALL_BYTES = 128 << 20
"""Decoded size that any file may have."""
MOST_TIMES = 30
"""A larger one may have at most this many times the file's size: tables of text shrink about tenfold."""
BATCH_ROWS = 1 << 16


class TooLarge(ValueError):
    """A Parquet file that decodes to far more than it is."""


def most_decoded(size: int) -> int:
    """Bytes that a packed file of `size` bytes, or a part of one, may decode to."""
    return max(SMALL_BYTES, MOST_TIMES * size)


def check_decoded_size(path: Path, columns: Collection[str] | None = None) -> None:
    """Raise TooLarge where the named columns (default: all) decode to far more bytes than the file has.

    What the file says of itself is asked first; then texts are measured batch by batch without being written out.
    Raises pa.ArrowException or OSError where it cannot be read.
    """
    size = os.path.getsize(path)
    most = most_decoded(size)
    whole = pq.read_schema(path)
    wanted = [field for field in whole if columns is None or field.name in columns]
    texts = [field.name for field in wanted if _is_text(field.type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        about = file.metadata
        decoded = sum(about.num_rows * _width(field.type) for field in wanted)
        names = {field.name for field in wanted}
        for group in map(about.row_group, range(about.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                if chunk.path_in_schema in names:
                    decoded += max(0, chunk.total_uncompressed_size)
        _refuse(decoded, most, size)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=texts) if texts else ():
            decoded += sum(_text_bytes(column) for column in batch.columns)
            _refuse(decoded, most, size)


def _refuse(decoded: int, most: int, size: int) -> None:
    if decoded > most:
        raise TooLarge(
            f"at most {most >> 20:,} MiB once decoded ({MOST_TIMES} times the file's {size / 2**20:.1f} MiB) are "
            f"needed, it holds {decoded >> 20:,} MiB or more"
        )


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _width(kind: pa.DataType) -> int:
    """Bytes of one value in memory; of a text those of its place."""
    try:
        return max(1, kind.bit_width // 8)
    except ValueError:
        return 8


def _text_bytes(column: pa.Array) -> int:
    """Bytes of a batch's texts, written out."""
    if not pa.types.is_dictionary(column.type):
        return int(pc.sum(pc.binary_length(column)).as_py() or 0)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(pc.take(lengths, column.indices)).as_py() or 0)
