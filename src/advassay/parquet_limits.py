"""How large a Parquet table is once decoded: a dictionary or a run length lets a few bytes stand for gigabytes.

A footer says how large columns are, and may lie; a page's header is what a decoder allocates by. Headers are Thrift
structures in the compact protocol (Parquet format, README, "Data pages"; Thrift, "Compact protocol encoding"). No page
is decompressed to find out.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# ---- how large it is once decoded ------------------------------------------------------------------------------------

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


# ---- the pages of a file, from their own headers ---------------------------------------------------------------------

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
"""PageType. Others hold no values."""
BY_DICTIONARY = (2, 8)
"""Encodings of values that are places in the dictionary."""
MOST_HEADER = 1 << 20
"""Bytes that a page's header may have: it holds statistics, which are two values."""
DEEPEST = 16
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 8}
"""Bytes of one value in memory; of a text or bytes those of its place."""


@dataclass(frozen=True)
class Chunk:
    """One column of one row group, as its pages say."""

    column: str
    """Path of the column, its parts joined by dots."""
    text: bool
    """Whether its values are texts or bytes, whose lengths the pages do not say."""
    values: int
    pages: int
    """Bytes of all pages once decompressed."""
    values_by_dictionary: int
    dictionary: int
    """Bytes of the dictionary once decompressed: no value of it is longer."""
    width: int

    @property
    def decoded(self) -> int:
        """Bytes in memory at most, texts of the dictionary apart."""
        return self.values * self.width + self.pages

    @property
    def texts(self) -> int:
        """Bytes at most of the texts that stand in the dictionary and are written out."""
        return self.values_by_dictionary * self.dictionary if self.text else 0


def chunks(path: Path, columns: Collection[str] | None = None, *, checksums: bool = False) -> list[Chunk]:
    """Every chunk of the named columns (default: all; of a nested one all its parts). `checksums`: compare each page's
    CRC-32 where it has one.

    Raises pa.ArrowInvalid where pages do not fill their chunk exactly, hold another number of values than the footer
    says, or are not as they were written; another pa.ArrowException or OSError where the footer cannot be read.
    """
    about = pq.read_metadata(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [
            _chunk(data, chunk, about.schema.column(place), checksums)
            for group in map(about.row_group, range(about.num_row_groups))
            for place, chunk in enumerate(map(group.column, range(group.num_columns)))
            if columns is None or _is_of(chunk.path_in_schema, columns)
        ]


def _is_of(path: str, columns: Collection[str]) -> bool:
    return path in columns or any(path.startswith(f"{name}.") for name in columns)


def _chunk(data: mmap.mmap, chunk: Any, about: Any, checksums: bool) -> Chunk:
    starts = [place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place]
    start = min(starts, default=0)  # of a column without values the data page's is 0
    end = start + chunk.total_compressed_size
    if not 0 <= start <= end <= len(data):
        raise pa.ArrowInvalid(f"column {chunk.path_in_schema} lies outside the file")
    values = pages = by_dictionary = dictionary = 0
    for header, content in _pages(data, start, end):
        size = _number(header, 2)
        if size < 0:
            raise pa.ArrowInvalid(f"column {chunk.path_in_schema} has a page of {size} bytes")
        pages += size
        kind = _number(header, 1)
        if kind in (DATA, DATA_V2):
            own = header.get(5 if kind == DATA else 8)
            values += _number(own, 1)
            by_dictionary += _number(own, 1) if _number(own, 2 if kind == DATA else 4) in BY_DICTIONARY else 0
        elif kind == DICTIONARY:
            dictionary += size
        if checksums and 4 in header and zlib.crc32(content) != _number(header, 4) & 0xFFFFFFFF:
            raise pa.ArrowInvalid(f"a page of column {chunk.path_in_schema} is not as it was written (CRC-32)")
    if values != chunk.num_values:
        raise pa.ArrowInvalid(
            f"column {chunk.path_in_schema}: {chunk.num_values} values are needed, its pages hold {values}"
        )
    width = about.length if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY" else WIDTHS.get(chunk.physical_type, 8)
    text = chunk.physical_type == "BYTE_ARRAY"
    return Chunk(chunk.path_in_schema, text, values, pages, by_dictionary, dictionary, max(1, width))


def _pages(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[dict[int, Any], bytes]]:
    """(header, content as stored) of each page between two places of the file."""
    while at < end:
        thrift = _Thrift(data, at, min(end, at + MOST_HEADER))
        header = thrift.struct()
        stop = thrift.at + _number(header, 3)
        if not thrift.at <= stop <= end:
            raise pa.ArrowInvalid("a page lies outside its column")
        yield header, data[thrift.at : stop]
        at = stop


def _number(header: Any, field: int) -> int:
    """A whole number of a page's header. Raises pa.ArrowInvalid where it has none."""
    found = header.get(field) if isinstance(header, dict) else None
    if not isinstance(found, int):
        raise pa.ArrowInvalid("a page's header lacks what it must hold")
    if field == 1 and found < 0:
        raise pa.ArrowInvalid("a page's header holds a negative number")
    return found


class _Thrift:
    """A structure in the compact protocol: field → whole number, truth or structure; texts and lists are skipped."""

    def __init__(self, data: mmap.mmap, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end

    def _byte(self) -> int:
        if self.at >= self._end:
            raise pa.ArrowInvalid("a page's header does not end")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise pa.ArrowInvalid("a page's header holds a number that is too large")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        field = 0
        while (head := self._byte()) & 0x0F:
            field = field + (head >> 4) if head >> 4 else self._signed()
            fields[field] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > DEEPEST:
            raise pa.ArrowInvalid("a page's header is nested too deep")
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 12:
            return self.struct(depth + 1)
        self._skip(kind, depth)
        return None

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (3, 7):
            self.at += 1 if kind == 3 else 8
        elif kind == 8:
            length = self._varint()
            self.at += length
        elif kind in (9, 10):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(size):
                if head & 0x0F in (1, 2):
                    self.at += 1
                else:
                    self._value(head & 0x0F, depth + 1)
                if self.at > self._end:
                    raise pa.ArrowInvalid("a page's header does not end")
        else:
            raise pa.ArrowInvalid("a page's header is none")
