"""How a verb ends: one clean message and an exit code instead of a traceback; warnings once, in plain words."""

from __future__ import annotations

import errno
import functools
import shlex
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from advassay.errors import AdvassayError, AdvassayWarning

Verb = TypeVar("Verb", bound=Callable[..., Any])

MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""What a full or closed disk says: no fault of the program, so no traceback."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""


def clean(verb: Verb) -> Verb:
    """Wrap a verb: an AdvassayError becomes a message and its exit code, Ctrl-C a hint how to continue."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            _show_warnings_once()
            try:
                return verb(*args, **kwargs)
            except AdvassayError as error:
                say_error(error)
                raise typer.Exit(error.exit_code) from None
            except OSError as error:
                if error.errno not in MACHINE:
                    raise
                say(f"Error: {error.strerror}: {error.filename or 'the store'}\nMend that; the same command continues.")
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                say(f"Stopped; nothing is lost. To go on: {typed()}")
                raise typer.Exit(INTERRUPTED) from None

    return wrapped  # type: ignore[return-value]


def typed() -> str:
    """The command as it was typed, ready to be pasted into a shell."""
    return shlex.join(["advassay", *sys.argv[1:]])


def say_error(error: AdvassayError) -> None:
    """What is wrong and what to do next, on stderr."""
    say(f"Error: {error.problem}" + (f"\n{error.fix}" if error.fix else ""))


def say(text: str) -> None:
    """A line for people, on stderr: stdout carries data only."""
    print(text, file=sys.stderr, flush=True)


def _show_warnings_once() -> None:
    """Our warnings once each; those of libraries are for developers and show only where Python was asked (-W)."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            say(f"Note: {message}" if issubclass(category, AdvassayWarning) else f"{category.__name__}: {message}")

    warnings.showwarning = show
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    warnings.simplefilter("always", AdvassayWarning)
