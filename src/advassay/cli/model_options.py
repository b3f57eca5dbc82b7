"""Options of the verbs that take a model of any maker: what its own files do not say."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

Mean = Annotated[
    Optional[str],  # noqa: UP045 (typer reads Optional)
    typer.Option("--mean", metavar="NUMBERS", help="Subtracted from images in [0, 1]: one number, or one a channel."),
]
Std = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--std", metavar="NUMBERS", help="Divided by: one number, or one a channel, e.g. 0.229,0.224,0.225."),
]
ValueRange = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--value-range",
        metavar="LOW,HIGH",
        help="What black and white become for the model, e.g. 0,255 or -1024,1024; --mean and --std count in [0, 1].",
    ),
]
Classes = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--classes",
        metavar="NAMES",
        help="The model's classes in the order of its outputs, e.g. normal,pneumonia; the model's own, or the sorted "
        "names of the folders, if not given.",
    ),
]
Channels = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--channels", min=1, metavar="N", help="Channels that the model takes, where it does not say."),
]
Finding = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--finding", metavar="NAME", help="Of a multi-label model: the output that is decided."),
]
Trust = Annotated[bool, typer.Option("--trust", help="Run code that belongs to the model (file.py:function).")]
Size = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--size", min=8, metavar="PX", help="Side of the square images, where the model does not say."),
]


def class_names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between, as a tuple."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(option: str, text: str | None) -> list[float] | None:
    """Numbers with commas between. Raises SpecError for what is none."""
    from advassay.errors import SpecError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(
            f"{option}: expected one number, or one a channel with commas between, got {text!r}.",
            f"Write {option} 0.5 or {option} 0.485,0.456,0.406.",
        ) from None


def value_range_of(text: str | None) -> tuple[float, float] | None:
    """Two rising numbers with a comma between. Raises SpecError for others."""
    from advassay.errors import SpecError

    if text is None:
        return None
    found = numbers("--value-range", text) or []
    if len(found) != 2 or not found[0] < found[1]:
        raise SpecError(
            f"--value-range: expected two numbers, the lower one first, got {text!r}.", "Write --value-range 0,255."
        )
    return found[0], found[1]
