"""How large a Parquet table is once decoded: a dictionary or a run length lets a few bytes stand for gigabytes."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from advassay.parquet_pages import chunks

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

    What the pages say of themselves is asked first (`check_pages`). Then texts and bytes in plain columns are measured
    batch by batch without being written out; in nested columns each counts as long as its column's whole dictionary.
    Raises pa.ArrowException, OSError or ValueError where it cannot be read.
    """
    whole = pq.read_schema(path)
    measured = [field.name for field in whole if _is_text(field.type) and (columns is None or field.name in columns)]
    decoded = check_pages(path, columns, measured=measured)
    size = os.path.getsize(path)
    with pq.ParquetFile(path, read_dictionary=measured) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=measured) if measured else ():
            decoded += sum(_text_bytes(column) for column in batch.columns)
            _refuse(decoded, most_decoded(size), size)


def check_pages(
    path: Path, columns: Collection[str] | None = None, *, measured: Collection[str] = (), checksums: bool = False
) -> int:
    """Bytes that the named columns decode to at most, by their pages' headers. Raises TooLarge where that is too much.

    `measured`: columns whose texts are not counted, because the caller looks at their lengths. `checksums`: compare the
    pages' CRC-32. Raises as `parquet_pages.chunks`.
    """
    size, decoded = os.path.getsize(path), 0
    for chunk in chunks(path, columns, checksums=checksums):
        decoded += chunk.decoded + (0 if chunk.column in measured else chunk.texts)
        _refuse(decoded, most_decoded(size), size)
    return decoded


def _refuse(decoded: int, most: int, size: int) -> None:
    if decoded > most:
        raise TooLarge(
            f"at most {most >> 20:,} MiB once decoded ({MOST_TIMES} times the file's {size / 2**20:.1f} MiB) are "
            f"needed, it holds {decoded >> 20:,} MiB or more"
        )


def _is_text(kind: pa.DataType) -> bool:
    """Whether values are texts or bytes, as Parquet keeps them alike."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in known)


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column's values are texts, numbers, truths or times: no lists, structures or bytes."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return True
    return pa.types.is_primitive(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)


def _text_bytes(column: pa.Array) -> int:
    """Bytes of a batch's texts, written out."""
    if not pa.types.is_dictionary(column.type):
        return int(pc.sum(pc.binary_length(column)).as_py() or 0)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(pc.take(lengths, column.indices)).as_py() or 0)
