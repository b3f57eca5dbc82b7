"""Templates → pages: one Jinja environment, escaping everything, and what every page carries."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from advassay.analysis.conclusions.conclusion_text import basis, correction, statistics_lines
from advassay.report.figures.image_panels import page_uri
from advassay.report.output.table_format import exact
from advassay.report.text.number_format import count, number


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """A page from a template of `templates/`; a name that the content lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("advassay.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number, "count": count, "exact": exact, "page_uri": page_uri, "code": _code, "data": _data,
        "basis": basis, "correction": correction, "statistics": statistics_lines,
    }  # fmt: skip
    return environment.get_template(template).render(**content)


def downloads(csv: Mapping[str, str]) -> dict[str, str]:
    """Table → data URI of its CSV text, offered by the page itself."""
    return {name: f"data:text/csv;charset=utf-8;base64,{as_base64(text)}" for name, text in csv.items()}


def as_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _code(text: str) -> Any:
    """The library's script, which holds neither </script nor <!-- (a test looks)."""
    from markupsafe import Markup

    return Markup(text)


def _data(text: str) -> Any:
    """JSON for a script element: no title or class name in it can end the element."""
    from markupsafe import Markup

    return Markup(text.replace("<", "\\u003c"))
