"""Figures → drawings for the page, and files beside it: a few at once, because each takes a processor a second."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advassay.progress import Progress
from advassay.report import export, packing, page_tables
from advassay.report.figures.figure import NARROW, WIDE, Figure
from advassay.report.grids import Grid
from advassay.report.shell import as_base64

FEW = 4
"""Figures up to which starting processes takes longer than it saves."""
MOST_WORKERS = 8
"""Processes at most: each holds a JavaScript engine."""
LARGE_SVG = 200_000
"""Characters, above which a drawing (a surface of thousands of cells) is carried as PNG where that is smaller."""


@dataclass(frozen=True)
class Drawn:
    """A figure with its drawings: data URIs for wide and narrow screens, and the specifications the script draws from.

    A picture has neither: its rows are laid out anew.
    """

    figure: Figure
    wide: str = ""
    narrow: str = ""
    specs: str = ""
    """JSON {"datasets": …, "wide": …, "narrow": …}."""
    grid: Grid | None = None


def draw_all(made: Sequence[Figure], beside: Path | None, told: Progress) -> Iterator[Drawn]:
    """Every figure as a page needs it, in order; files go into `beside`/figures where that is given.

    Charts are made in this process, since they hold the study's frames; the others get their specifications.
    """
    import joblib

    told.start("draw figures", len(made), "figures")
    workers = 1 if len(made) <= FEW else min(joblib.cpu_count(), MOST_WORKERS)
    drawings = joblib.Parallel(n_jobs=workers, return_as="generator")(
        joblib.delayed(_drawn)(_specifications(figure), _file(figure, beside)) for figure in made
    )
    for figure, (wide, narrow, specs) in zip(made, drawings, strict=True):
        yield Drawn(figure, wide, narrow, specs, page_tables.of_figure(figure)) if specs else Drawn(figure)
        told.advance("draw figures")
    told.finish("draw figures")


class _File(NamedTuple):
    """Where a drawing is kept, and the words inside it."""

    path: Path
    title: str
    description: str


def _file(figure: Figure, beside: Path | None) -> _File | None:
    if beside is None:
        return None
    return _File(
        beside / "figures" / f"{figure.key}.svg", f"Figure {figure.number}. {figure.title}", figure.description
    )


def _specifications(figure: Figure) -> dict[str, dict[str, Any]]:
    """Width's name → Vega-Lite; of a picture only the wide one, for its file."""
    widths = {"wide": WIDE} if figure.rows else {"wide": WIDE, "narrow": NARROW}
    return {name: export.specification(figure.draw(width)) for name, width in widths.items()}


def _drawn(specs: dict[str, dict[str, Any]], file: _File | None) -> tuple[str, str, str]:
    """(wide and narrow drawing as data URIs, specifications as the page carries them); writes the file. A picture's
    are empty.
    """
    drawings = {name: export.to_svg(spec) for name, spec in specs.items() if file or len(specs) > 1}
    if file is not None:
        export.write_figure(drawings["wide"], *file)
    if len(specs) == 1:
        return "", "", ""
    return _still(drawings["wide"]), _still(drawings["narrow"]), packing.packed(specs)


def _still(svg: str) -> str:
    """A drawing as a data URI."""
    if len(svg) > LARGE_SVG:
        png = export.to_png(svg)
        if len(png) < len(svg):
            return f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f"data:image/svg+xml;base64,{as_base64(svg)}"
