"""A shard: one Parquet file of whole rows, written once, never changed.

Arrays over iterates are fixed-size lists, so a column is one flat buffer: NumPy sees it without a Python loop.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from advassay import store_layout
from advassay.checked_files import BROKEN, damaged
from advassay.errors import DamagedError, FormatError
from advassay.parquet_limits import check_pages
from advassay.record_columns import COLUMNS, KEYS, Column, unset_columns
from advassay.records.run_header import FORMAT_VERSION, Account
from advassay.trajectory import TrajectoryRows

TEXTS = tuple(name for name, column in COLUMNS.items() if column.dtype == "string")
ACCOUNT = "advassay_account"
"""Name of the metadata that holds a shard's account, JSON."""
NAME = re.compile("[0-9a-f]{16}-[0-9a-f]{8}")
"""A shard's name without its suffix: checksums of its content and of its footer. Version 0.1 wrote the first alone."""
TAIL = 8
"""Bytes at the end of a Parquet file: the footer's length (4, little-endian) and the magic PAR1."""
FLAG = "flag_"
"""Prefix of a flag's column."""
LONGEST_KEY = 200
"""Bytes that an image_id or a step size's name may have."""
HEALED = "`advassay attack` with the same study and --store computes again what is lost."
"""What to do where a file of a run is damaged."""


def schema(steps: int, classes: int, flags: tuple[str, ...]) -> pa.Schema:
    """The Arrow schema of a shard with K = `steps` and C = `classes`; no field may be null."""
    types = {name: _arrow_type(column, steps, classes) for name, column in COLUMNS.items()}
    types |= {FLAG + name: pa.bool_() for name in flags}
    about = {"advassay_format": FORMAT_VERSION, "steps": str(steps), "classes": str(classes)}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()], metadata=about)


def _arrow_type(column: Column, steps: int, classes: int) -> pa.DataType:
    """The column's type; its axes as fixed-size lists, the last one innermost."""
    kind = pa.string() if column.dtype == "string" else pa.from_numpy_dtype(column.numpy_dtype)
    for axis in reversed(column.axes):
        kind = pa.list_(pa.field("item", kind, nullable=False), steps + 1 if axis == "step" else classes)
    return kind


def write_shard(folder: Path, rows: TrajectoryRows, account: Account | None = None) -> Path:
    """Write `rows` as one shard, named by its content, renamed into place when it is whole and on the disk.

    The second part of the name is the checksum of the Parquet footer, the one part of the file whose bytes Parquet does
    not protect itself: a flipped bit there can turn a column into another one.

    `account`: what making them took, kept in the same file, so that rows and account come and go together.
    """
    table = to_table(rows)
    if account is not None:
        table = table.replace_schema_metadata((table.schema.metadata or {}) | {ACCOUNT: account.model_dump_json()})
    written = pa.BufferOutputStream()
    pq.write_table(table, written, compression="zstd", use_dictionary=list(TEXTS), write_page_checksum=True)
    content = written.getvalue()
    path = folder / f"{_content_name(rows)}-{_footer_checksum(pa.BufferReader(content), content.size)}.parquet"
    with store_layout.writing(path) as beside:
        beside.write_bytes(content)
    return path


def to_table(rows: TrajectoryRows) -> pa.Table:
    """A block as an Arrow table in the shard's schema."""
    steps, classes = rows.logits.shape[1] - 1, rows.logits.shape[2]
    flags = tuple(sorted(rows.flags))
    shape = schema(steps, classes, flags)
    values: dict[str, Any] = {
        name: pa.array(getattr(rows, name).tolist(), pa.string())
        if column.dtype == "string"
        else getattr(rows, name).astype(column.numpy_dtype, copy=False)
        for name, column in COLUMNS.items()
    }
    values |= {FLAG + name: rows.flags[name].astype(bool) for name in flags}
    return pa.table([_to_arrow(values[f.name], f.type) for f in shape], schema=shape)


def _to_arrow(values: Any, kind: pa.DataType) -> pa.Array:
    """NumPy (row, …) → Arrow; the trailing axes become nested fixed-size lists over one flat buffer."""
    if isinstance(values, pa.Array):
        return values
    flat_type, sizes = kind, []
    while pa.types.is_fixed_size_list(flat_type):
        sizes.append(flat_type)
        flat_type = flat_type.value_type
    array = pa.array(np.ascontiguousarray(values).reshape(-1), flat_type)
    for list_type in reversed(sizes):
        array = pa.FixedSizeListArray.from_arrays(array, type=list_type)
    return array


def to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Arrow → NumPy (row, …), undoing `_to_arrow`; text becomes an object array."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # a chunked array of no chunk or of one that cannot be joined
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    sizes = [len(array)]
    while pa.types.is_fixed_size_list(array.type):
        sizes.append(array.type.list_size)
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False).reshape(sizes)


def _footer_checksum(file: BinaryIO | pa.NativeFile, size: int) -> str:
    """First 8 hexadecimal digits of the SHA-256 of a Parquet file's footer, its length and magic included."""
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    start = size - TAIL - int.from_bytes(tail[:4], "little")
    if len(tail) < TAIL or start < 0:
        raise ValueError("it has no Parquet footer")
    file.seek(start)
    return hashlib.sha256(file.read(size - start)).hexdigest()[:8]


def check_footer(path: Path) -> None:
    """Raise ValueError where the footer's checksum is not the one in the file's name; other names have none."""
    if NAME.fullmatch(path.stem):
        with path.open("rb") as file:
            if _footer_checksum(file, path.stat().st_size) != path.stem[-8:]:
                raise ValueError("its Parquet footer is not as it was written")


def read_shard(path: Path, columns: list[str]) -> pa.Table:
    """The asked columns of a shard that `check_whole` has passed. Raises an error of BROKEN where it is damaged."""
    texts = [name for name in TEXTS if name in columns]
    table = pq.read_table(
        path, columns=columns, page_checksum_verification=True, partitioning=None, read_dictionary=texts
    )
    for name in texts:
        place = table.schema.get_field_index(name)
        longest = max((_longest(chunk) for chunk in table[name].chunks), default=0)
        if longest > LONGEST_KEY:
            raise ValueError(f"column {name}: at most {LONGEST_KEY} bytes a value are needed, it has {longest}")
        table = table.set_column(place, pa.field(name, pa.string(), nullable=False), table[name].cast(pa.string()))
    return table


def _longest(texts: pa.Array) -> int:
    """Bytes of the longest text, written out or in a dictionary."""
    values = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
    return int(pc.max(pc.binary_length(values)).as_py() or 0)


def read_rows(path: Path) -> TrajectoryRows:
    """All rows of a shard, in its order. Raises DamagedError."""
    try:
        check_whole(path)
        names = pq.read_schema(path).names
        flags = [name for name in names if name.startswith(FLAG)]
        table = read_shard(path, [*(name for name in COLUMNS if name in names), *flags])
        columns: dict[str, Any] = {
            name: to_numpy(table[name]) if name in names else fill_missing(name, path) for name in COLUMNS
        }
        return TrajectoryRows(**columns, flags={name.removeprefix(FLAG): to_numpy(table[name]) for name in flags})
    except FileNotFoundError:
        raise
    except BROKEN as error:
        raise damaged(path, f"its rows cannot be read ({type(error).__name__})", HEALED) from None


def fill_missing(name: str, path: Path) -> np.ndarray:
    """What stands for a column that a shard does not have: its `fill`. Raises ValueError where it must have it."""
    column, about = COLUMNS[name], pq.read_schema(path)
    if not column.may_lack:
        raise ValueError(f"column {name} is missing")
    written = about.metadata or {}
    if b"steps" not in written or b"classes" not in written:
        raise ValueError("it does not say how many steps and classes it has")
    steps, classes = int(written[b"steps"]), int(written[b"classes"])
    return unset_columns(pq.read_metadata(path).num_rows, steps, classes, [name])[name]


def check_whole(path: Path) -> None:
    """Raise an error of BROKEN where the footer or a page is not as it was written, or decodes to far more than it is.

    Every byte is read, none is decompressed. A file that was found whole is not read again in this process while its
    size and time of change stay.
    """
    about = path.stat()
    if why := _why_not_whole(path, about.st_size, about.st_mtime_ns):
        raise ValueError(why)


@lru_cache(maxsize=1 << 16)
def _why_not_whole(path: Path, size: int, changed: int) -> str:
    """What is wrong with a shard; "" where nothing is."""
    try:
        check_footer(path)
        check_pages(path, measured=TEXTS, checksums=True)
    except FileNotFoundError:
        raise
    except BROKEN as error:
        return str(error) or type(error).__name__
    return ""


def is_whole(path: Path) -> bool:
    """Whether the footer and every page are as they were written and every column decodes. Memory: the shard."""
    try:
        read_rows(path)
    except DamagedError:
        return False
    return True


def shard_schema(path: Path, steps: int, classes: int) -> pa.Schema:
    """Schema of a shard from its footer, its columns those of a run with K = `steps` and C = `classes`.

    Raises FormatError for a newer format, an error of BROKEN where the file is damaged (`check_whole`).
    """
    check_whole(path)
    found = pq.read_schema(path)
    written = (found.metadata or {}).get(b"advassay_format", b"").decode("latin-1")
    if written.isdigit() and int(written) > int(FORMAT_VERSION):
        raise FormatError(
            f"shard {path.name}: expected format {FORMAT_VERSION} or older, got {written!r}.",
            "Open it with a newer advassay.",
        )
    flags = tuple(name.removeprefix(FLAG) for name in found.names if name.startswith(FLAG))
    for field in schema(steps, classes, flags):
        if field.name not in found.names and field.name in COLUMNS and COLUMNS[field.name].may_lack:
            continue
        if field.name not in found.names or not found.field(field.name).type.equals(field.type):
            raise ValueError(f"column {field.name} must be {field.type}")
    return found


def account_of(found: pa.Schema) -> Account | None:
    """What making a shard's rows took, from its schema; None where it does not say."""
    text = (found.metadata or {}).get(ACCOUNT.encode())
    return None if text is None else Account.model_validate_json(text)


def _content_name(rows: TrajectoryRows) -> str:
    digest = hashlib.sha256()
    for key in KEYS:
        digest.update("\n".join(map(str, getattr(rows, key).tolist())).encode())
    digest.update(np.ascontiguousarray(rows.logits).data)
    return digest.hexdigest()[:16]
