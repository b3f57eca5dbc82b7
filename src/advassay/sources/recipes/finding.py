"""Which files a set's folder holds. Nothing is opened here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path

from advassay.errors import SourceError
from advassay.sources.file_names import is_text

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")


def files_in(folder: Path, argument: str) -> list[str]:
    """Paths of all files below `folder`, with `/`, in a fixed order; hidden ones (and macOS's doubles) are passed over.

    Links to folders are not followed. Raises SourceError where the folder is missing or cannot be listed.
    """
    if not folder.is_dir():
        raise SourceError(f"{argument}: an existing folder is needed, got {folder}.", "Check it and --data.")

    def refuse(error: OSError) -> None:
        raise SourceError(f"{argument}: folders that can be listed are needed, got {error.filename}.", str(error))

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder)
        found += [name if below == "." else f"{below}/{name}" for name in sorted(names) if not name.startswith(".")]
    return [path for path in found if is_text(path)]  # a name that no table can hold is no file of a published set


def matching(paths: Sequence[str], pattern: str) -> list[str]:
    """Those of `paths` that end in `pattern`, whatever folders are in front; `*` stands for any characters.

    >>> matching(["a/lists/train.txt", "lists/val.txt", "blists/train.txt"], "lists/*.txt")
    ['a/lists/train.txt', 'lists/val.txt']
    """
    whole = re.compile(translate(f"*/{pattern}"))
    return [path for path in paths if whole.match(f"/{path}")]


def is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_ENDINGS)
