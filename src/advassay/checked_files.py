"""A store's documents (JSON) and tables (Parquet), written with a checksum of what they say and read against it.

The checksum lies inside the file, so that file and checksum are replaced in one rename: in a document it is the last
entry, in a table it is in the schema's metadata. Files without one were written by an earlier version and are read
as they are. Whatever is wrong with a file, its reader raises DamagedError with the file's name and what to do.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from advassay.errors import DamagedError, FormatError
from advassay.identity import canonical_json
from advassay.parquet_limits import check_decoded_size, is_plain
from advassay.store_documents import CHECKSUM
from advassay.store_layout import writing

Model = TypeVar("Model", bound=BaseModel)

BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError, RecursionError)
"""What readers raise on files that are not what they should be."""


def write_document(path: Path, content: BaseModel | dict[str, Any], indent: int = 2) -> None:
    """Write a document as JSON, its checksum as the last entry."""
    text = content.model_dump_json() if isinstance(content, BaseModel) else json.dumps(content)
    plain = json.loads(text)
    with writing(path) as beside:
        whole = plain | {CHECKSUM: _checksum(plain)}
        beside.write_text(json.dumps(whole, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def read_document(path: Path, fix: str) -> dict[str, Any]:
    """The entries of a document, without its checksum. `fix`: what to do where it is damaged.

    Raises DamagedError where it is not a JSON object or not as it was written, FileNotFoundError where it is absent.
    """
    return _read_document(path, fix)[0]


def _read_document(path: Path, fix: str) -> tuple[dict[str, Any], bool]:
    """(entries, whether a checksum says that they are as they were written)."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"it is no JSON document ({_reason(error)})", fix) from None
    if not isinstance(content, dict):
        raise damaged(path, f"expected a JSON object, got {type(content).__name__}", fix)
    written = content.pop(CHECKSUM, None)
    if written is not None and written != _checksum(content):
        raise damaged(path, "it is not as it was written (its checksum differs)", fix)
    return content, written is not None


def read_model(path: Path, kind: type[Model], fix: str) -> Model:
    """A document as the model `kind`.

    Raises as `read_document`; where it breaks a rule of the model, DamagedError, or FormatError where its checksum says
    that it was written so.
    """
    content, checked = _read_document(path, fix)
    try:
        return kind.model_validate(content)
    except ValueError as error:
        if checked:
            raise FormatError(f"{path}: {_fields(error)}.", "Was it written by a newer advassay?") from None
        raise damaged(path, f"it is no {kind.__name__} document ({_fields(error)})", fix) from None


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as Parquet with its checksum."""
    with writing(path) as beside:
        write_frame_to(beside, frame)


def write_frame_to(sink: Path | IO[bytes], frame: pl.DataFrame) -> None:
    """As `write_frame`, into an open file or a path that is not renamed."""
    table = frame.to_arrow()
    marked = table.replace_schema_metadata({CHECKSUM: frame_checksum(frame)})
    pq.write_table(marked, sink, compression="zstd", write_page_checksum=True)


def read_frame(path: Path, fix: str) -> pl.DataFrame:
    """A table, compared with its checksum. `fix`: what to do where it is damaged.

    Raises DamagedError where it cannot be read or is not as it was written, FileNotFoundError where it is absent.
    """
    try:
        if odd := [field.name for field in pq.read_schema(path) if not is_plain(field.type)]:
            raise ValueError(f"columns of texts and numbers are needed, {len(odd)} hold lists, structures or bytes")
        check_decoded_size(path)
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        frame = pl.DataFrame(pl.from_arrow(table))
    except FileNotFoundError:
        raise
    except (*BROKEN, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(path, f"it cannot be read as Parquet ({_reason(error)})", fix) from None
    written = (table.schema.metadata or {}).get(CHECKSUM.encode(), b"").decode("latin-1")
    if written and written != frame_checksum(frame):
        raise damaged(path, "it is not as it was written (its checksum differs)", fix)
    return frame


def frame_checksum(frame: pl.DataFrame) -> str:
    """SHA-256 of a table's column names and values, whatever the file's encoding and the library's version."""
    digest = hashlib.sha256()
    for name in frame.columns:
        column = frame[name]
        digest.update(f"{name}\0".encode())
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            values = column.fill_null(False if column.dtype == pl.Boolean else 0).to_numpy()
            digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
        else:
            texts = ["" if value is None else str(value) for value in column.to_list()]
            digest.update(np.array([len(text) for text in texts], "<i8").tobytes())
            digest.update("".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def stamped(text: str) -> str:
    """A text with its checksum in a comment (YAML) on its first line."""
    return f"# {CHECKSUM}: {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def is_as_written(text: str) -> bool | None:
    """Whether a stamped text is as it was written; None where it has no stamp.

    >>> is_as_written(stamped("a: 1\\n")), is_as_written(stamped("a: 1\\n")[:-2]), is_as_written("a: 1\\n")
    (True, False, None)
    """
    first, _, rest = text.partition("\n")
    if not first.startswith(f"# {CHECKSUM}: "):
        return None
    return first == stamped(rest).partition("\n")[0]


def damaged(path: Path, why: str, fix: str) -> DamagedError:
    """The error that names a damaged file."""
    return DamagedError(f"{path}: damaged: {why}.", fix)


CLOCK = "updated"
"""Entry of a document that its checksum leaves out: the time says nothing of what the document holds."""


def _checksum(content: dict[str, Any]) -> str:
    content = {name: value for name, value in content.items() if name != CLOCK}
    return hashlib.sha256(canonical_json(content).encode("utf-8", "surrogatepass")).hexdigest()


def _reason(error: BaseException) -> str:
    """The first line of what a reader says, without anything that it quotes from the file."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}" if error.doc.strip() else "it is empty"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _fields(error: ValueError) -> str:
    """Which fields a document breaks, without their values."""
    found: list[Any] = getattr(error, "errors", list)()
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found[:3]) or "unreadable"
