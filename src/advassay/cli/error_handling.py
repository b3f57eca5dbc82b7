"""How a verb ends: one clean message and an exit code instead of a traceback; warnings once, in plain words."""

from __future__ import annotations

import errno
import functools
import os
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from advassay.errors import AdvassayError, AdvassayWarning
from advassay.optional_libraries import missing_library
from advassay.store_layout import DISK_FAULTS, disk_fault

Verb = TypeVar("Verb", bound=Callable[..., Any])

DISK = (*DISK_FAULTS, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""What a full, closed or failing disk says: no fault of the program, so no traceback."""
PLACE = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""What is said of a path that names no place for a file."""

EXTRA_OF_VERB = {"tiles": "slides"}
"""Verb → the extra that it needs, where a library that it misses belongs to several."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python puts in place of a byte that is not UTF-8."""

INTERRUPTED = 130
TERMINATED = 143
"""Exit codes after Ctrl-C and SIGTERM, as shells have them (128 + the signal's number)."""

EXIT_CODES: dict[int, str] = {
    0: "Done.",
    1: "The disk is full or closed, a path cannot be used, or doctor found what will not work.",
    2: "The command, an option or the study file is wrong, or a library of an extra is not installed.",
    3: "A source cannot be read, or a cohort cannot be formed. Other cohorts were done all the same.",
    4: "A network cannot be built, trained or loaded.",
    5: "The attack would give a meaningless number: wrong images, amplitude or model; or images were set aside.",
    6: "The store is missing, locked, damaged, or of another version.",
    7: "A figure or a page cannot be made.",
    8: "evaluate: a requirement of --require is not shown to hold.",
    9: "run --no-wait: another part of the run has to go first.",
    INTERRUPTED: "Stopped with Ctrl-C; the same command continues.",
    TERMINATED: "Stopped by SIGTERM; the same command continues.",
}
"""Exit code of the command → meaning: one table for the help and for the documentation."""


def cli_errors(verb: Verb) -> Verb:
    """Wrap a verb: an AdvassayError becomes a message and its exit code, Ctrl-C a hint how to continue."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings(), _terminable() as terminated:
            _show_warnings_once()
            try:
                return verb(*args, **kwargs)
            except AdvassayError as error:
                say_error(error, verb, kwargs)
                raise typer.Exit(error.exit_code) from None
            except ModuleNotFoundError as error:
                if (known := missing_library(error, EXTRA_OF_VERB.get(verb.__name__))) is None:
                    raise
                say_error(known)
                raise typer.Exit(known.exit_code) from None
            except OSError as error:
                number = disk_fault(error) or error.errno
                if number not in (*DISK, *PLACE):
                    raise
                fix = "Mend that; the same command continues." if number in DISK else "Give another path."
                say(f"Error: {os.strerror(number)}: {error.filename or 'the store'}\n{fix}")
                raise typer.Exit(1) from None
            except UnicodeEncodeError as error:
                if not SURROGATE.search(str(error.object)):
                    raise
                say("Error: a path that is not UTF-8 cannot be written down.\nRename the file or folder.")
                raise typer.Exit(1) from None
            except Exception as error:
                if (number := disk_fault(error)) is None:
                    raise
                say(f"Error: {os.strerror(number)}\nMend that; the same command continues.")
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                say(f"Stopped; nothing is lost. To go on: {typed()}")
                raise typer.Exit(TERMINATED if terminated.received else INTERRUPTED) from None

    return wrapped  # type: ignore[return-value]


class _Terminated:
    """SIGTERM as KeyboardInterrupt: a batch system's end of time is like Ctrl-C."""

    def __init__(self) -> None:
        self.received = False

    def __call__(self, number: int, frame: object) -> None:
        self.received = True
        raise KeyboardInterrupt  # not by SIGINT: a job in the background of a script ignores that


@contextmanager
def _terminable() -> Iterator[_Terminated]:
    """SIGTERM handled as above while inside (in the main thread, and where nobody else handles it)."""
    terminated = _Terminated()
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, terminated)
    try:
        yield terminated
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def typed() -> str:
    """The command as it was typed, ready to be pasted into a shell."""
    return shlex.join(["advassay", *sys.argv[1:]])


def say_error(
    error: AdvassayError, verb: Callable[..., Any] | None = None, given: Mapping[str, Any] | None = None
) -> None:
    """What is wrong and what to do next, on stderr; arguments named as they are typed for `verb`.

    given: parameter of the verb → the value that was typed.
    """
    problem = error.problem if verb is None else as_typed(error.problem, verb, given or {})
    say(f"Error: {problem}" + (f"\n{error.fix}" if error.fix else ""))


def as_typed(problem: str, verb: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """A message that begins with an argument's name in Python, with the name that is typed on the command line.

    Readers call any file `path`, and a verb may have two stores: the argument whose value the message quotes is meant.
    Where none can be told the message stays as it is.

    >>> from advassay.cli.report import report
    >>> as_typed("store: holds nothing.", report, {"store": Path("mine")}), as_typed("path: no mine.", report, {})
    ('STORE: holds nothing.', 'path: no mine.')
    >>> as_typed("path: no such folder: mine.", report, {"store": Path("mine"), "output": None})
    'STORE: no such folder: mine.'
    """
    name, colon, rest = problem.partition(": ")
    places = typed_names(verb)
    quoted = [one for one, value in given.items() if one in places and _is_quoted(value, rest)]
    if name not in quoted and (name == "path" or (quoted and isinstance(given.get(name), Path))):
        name = quoted[0] if len(quoted) == 1 else ""
    return f"{places[name]}: {rest}" if colon and name in places and given.get(name) is not None else problem


def _is_quoted(value: Any, text: str) -> bool:
    """Whether a path or text that was typed, or the name at its end, stands in `text`."""
    if not isinstance(value, str | Path) or not str(value):
        return False
    return any(word and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in (str(value), Path(value).name))


def typed_names(verb: Callable[..., Any]) -> dict[str, str]:
    """Parameter → its metavar, of an argument, or the option's long name; arguments first."""
    arguments, given = {}, {}
    for name, hint in get_type_hints(verb, include_extras=True).items():
        for one in getattr(hint, "__metadata__", ()):
            if isinstance(one, ArgumentInfo):
                arguments[name] = str(one.metavar or name).strip("[].").split(" ")[0]
            elif isinstance(one, OptionInfo):
                given[name] = next((text for text in one.param_decls or () if text.startswith("--")), f"--{name}")
    return arguments | given


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
