"""Files of models looked at before anything of them is loaded: what they are, their hash, their tensors.

A format is recognised by content. Nothing here unpickles: what Python's pickle wrote may run any code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from advassay.errors import ClassifierError, TrainingError

_HDF5, _ZIP, _PICKLES = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_LARGEST_HEADER = 100_000_000
"""Bytes of a safetensors header; the library's own limit."""
_FOLDER_FILES = (".json", ".safetensors")
"""Files of a folder that make the model what it is."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; remembered while size and modification time stay."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 of a folder's configuration and weight files, by name: 64 hex digits, wherever the folder lies."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _FOLDER_FILES):
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Never unpickles; raises TrainingError for any other kind of file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise TrainingError(
            f"{path.name}: a safetensors file is needed, and it cannot be read as one ({error}).",
            "Convert pickled weights (.pt, .pth) with safetensors.torch.save_file where you trust their origin.",
        ) from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A network's tensors by name, of a safetensors file or of one that torch.save wrote from a state dict.

    The latter is read with weights_only, which makes tensors and plain containers and nothing else. Raises
    ClassifierError for a file that holds more (a pickled model), with how to convert it.
    """
    import torch

    if is_safetensors(path):
        return read_tensors(path)
    if not (is_zip(path) or starts_with(path, *_PICKLES)):
        raise ClassifierError(
            f"{path.name}: weights are needed, a safetensors file or a state dict of torch.save; it is neither.",
            "Give the file that training wrote.",
        )
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler names what it refuses in errors of several kinds
        raise refuse_pickle(path, error) from None
    for name in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(held, dict) and isinstance(held.get(name), dict):
            held = held[name]
            break
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise ClassifierError(
            f"{path.name}: expected a state dict (tensors by name), got {type(held).__name__}.",
            "Save one: safetensors.torch.save_file(network.state_dict(), 'weights.safetensors').",
        )
    return {name.removeprefix("module."): value for name, value in held.items()}


def refuse_pickle(path: Path, why: object = "") -> ClassifierError:
    """The error for a file that only Python's pickle can read."""
    reason = str(why).strip().partition("\n")[0][:160]
    return ClassifierError(
        f"{path.name}: a pickled model, which could run any code when it is read, is not loaded"
        + (f" ({reason})." if reason else "."),
        "Where you trust its origin, convert it once: model = torch.load(FILE, weights_only=False); then "
        "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), or torch.export.save(torch.export."
        "export(model.eval(), (example,)), 'model.pt2').",
    )


# ---- what a file is -------------------------------------------------------------------------------------------------


def starts_with(path: Path, *beginnings: bytes) -> bool:
    """Whether a file begins with one of these bytes; False for a folder."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16).startswith(beginnings)


def is_zip(path: Path) -> bool:
    return starts_with(path, _ZIP)


def is_hdf5(path: Path) -> bool:
    return starts_with(path, _HDF5)


def is_pickle(path: Path) -> bool:
    """A bare pickle, or a zip archive of torch.save, which holds one and no program."""
    if starts_with(path, *_PICKLES):
        return True
    names = zip_names(path)
    return any(name.endswith("data.pkl") for name in names) and not any("/code/" in f"/{name}" for name in names)


def zip_names(path: Path) -> tuple[str, ...]:
    """Names of the entries of a zip archive; none where it is not one."""
    if not is_zip(path):
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return ()


def is_safetensors(path: Path) -> bool:
    """Eight bytes with the header's length, then the header: a JSON object."""
    return safetensors_metadata(path) is not None


def safetensors_metadata(path: Path) -> dict[str, str] | None:
    """The texts in a safetensors header; None for another kind of file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, path.stat().st_size - 8) or file.read(1) != b"{":
            return None
        try:
            header = json.loads(b"{" + file.read(length - 1))
        except (ValueError, RecursionError):
            return None
    if not isinstance(header, dict):
        return None
    held = header.get("__metadata__", {})
    return {str(name): str(value) for name, value in held.items()} if isinstance(held, dict) else {}


_ONNX_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
"""Field numbers of onnx.ModelProto."""
_VERSION, _GRAPH = 1, 7


def is_onnx(path: Path) -> bool:
    """Whether a file is a protocol buffer with the fields of onnx.ModelProto, from its first to its last byte.

    Lengths are followed and contents skipped, so a file of gigabytes costs a few reads.
    """
    if not path.is_file():
        return False
    seen: set[int] = set()
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            tag, value = _varint(file), _varint(file)
            if tag is None or value is None or tag >> 3 not in _ONNX_FIELDS or tag & 7 not in (0, 2):
                return False
            seen.add(tag >> 3)
            if tag & 7 == 2:
                file.seek(value, 1)
        return file.tell() == size and {_VERSION, _GRAPH} <= seen


def _varint(file: Any) -> int | None:
    """The next number of a protocol buffer; None where the file ends before it does."""
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file. Raises ClassifierError where it is none."""
    try:
        held = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ClassifierError(f"{path.name}: a JSON file is needed, and it cannot be read ({error}).") from None
    if not isinstance(held, dict):
        raise ClassifierError(f"{path.name}: expected a JSON object, got {type(held).__name__}.")
    return held
