"""Figures → drawings for the page and files beside it; each set of chart data is carried once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advassay.progress import Progress
from advassay.report.figures.figure import NARROW, WIDE, Figure
from advassay.report.output import figure_files
from advassay.report.tables.column_labels import Grid
from advassay.report.tables.table import numbers_of_figure


def dedupe_datasets(specs: dict[str, dict[str, Any]]) -> str:
    """JSON {"datasets": {name: {"columns", "rows"}}, name: specification …}; inline values become named data.

    The page's script puts the sets back as Vega-Lite's top-level `datasets`.

    >>> data = {"values": [{"x": 1, "y": None}, {"x": 2, "y": 3}]}
    >>> print(dedupe_datasets({"wide": {"data": data}, "narrow": {"data": data}}))
    {"datasets":{"d0":{"columns":["x","y"],"rows":[[1,null],[2,3]]}},"wide":{"data":{"name":"d0"}},"narrow":{"data":{"name":"d0"}}}
    """
    names: dict[str, str] = {}
    named = {key: _named(spec, names) for key, spec in specs.items()}
    sets = {name: json.loads(text) for text, name in names.items()}
    return _text({"datasets": sets} | named)


def _named(node: Any, names: dict[str, str]) -> Any:
    """`node` with every {"values": [row, …]} replaced by {"name": …}; `names`: packed rows as text → name."""
    if isinstance(node, list):
        return [_named(part, names) for part in node]
    if not isinstance(node, dict):
        return node
    rows = node.get("values")
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = _text({"columns": columns, "rows": [[row.get(column) for column in columns] for row in rows]})
        return {"name": names.setdefault(text, f"d{len(names)}")}
    return {key: _named(value, names) for key, value in node.items()}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


FEW = 4
"""Figures up to which starting processes takes longer than it saves."""
MOST_WORKERS = 8
"""Processes at most: each holds a JavaScript engine."""
LARGE_SVG = 200_000
"""Characters, above which a drawing (a surface of thousands of cells) is carried as PNG where that is smaller."""


@dataclass(frozen=True)
class RenderedFigure:
    """A figure with its drawings: data URIs for wide and narrow screens, and the specifications the script draws from.

    A picture has neither: its rows are laid out anew.
    """

    figure: Figure
    wide: str = ""
    narrow: str = ""
    specs: str = ""
    """JSON {"datasets": …, "wide": …, "narrow": …}."""
    grid: Grid | None = None


def draw_all(made: Sequence[Figure], beside: Path | None, told: Progress) -> Iterator[RenderedFigure]:
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
        yield (
            RenderedFigure(figure, wide, narrow, specs, numbers_of_figure(figure)) if specs else RenderedFigure(figure)
        )
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
    return {name: figure_files.specification(figure.draw(width)) for name, width in widths.items()}


def _drawn(specs: dict[str, dict[str, Any]], file: _File | None) -> tuple[str, str, str]:
    """(wide and narrow drawing as data URIs, specifications as the page carries them); writes the file. A picture's
    are empty.
    """
    drawings = {name: figure_files.to_svg(spec) for name, spec in specs.items() if file or len(specs) > 1}
    if file is not None:
        figure_files.write_figure(drawings["wide"], *file)
    if len(specs) == 1:
        return "", "", ""
    return _still(drawings["wide"]), _still(drawings["narrow"]), dedupe_datasets(specs)


def _still(svg: str) -> str:
    """A drawing as a data URI."""
    if len(svg) > LARGE_SVG:
        png = figure_files.to_png(svg)
        if len(png) < len(svg):
            return f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
