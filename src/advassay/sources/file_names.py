"""File names: bytes to the file system, text in a table. A name that is not UTF-8 can be in no table."""

from __future__ import annotations

import os

NOT_UTF8 = ("file name is not UTF-8", "no table can hold it; rename the file")
"""(reason, detail) for leaving such a file out."""


def is_text(name: str) -> bool:
    """Whether a name, as Python lists it, is UTF-8.

    >>> is_text("Herz.png"), is_text(os.fsdecode(b"Herz\\xf6l.png"))
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(name: str) -> str:
    """The name with `\\xf6` in place of each byte that is not UTF-8; a text as it is.

    >>> as_text(os.fsdecode(b"Herz\\xf6l.png"))
    'Herz\\\\xf6l.png'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")
