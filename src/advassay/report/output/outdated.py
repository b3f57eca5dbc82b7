"""Say of reports that their store has changed since: in the pages themselves, and in a file beside them."""

from __future__ import annotations

import html
import json
from pathlib import Path

from advassay.store_layout import writing

LIST = "OUTDATED.txt"
"""In the report's folder: what is outdated there, a file a line, after the reason."""


def mark_outdated(folder: Path, why: str) -> list[str]:
    """Mark every report in a store's report folder. Returns the names of what is outdated, empty where there is none.

    A page (HTML), Markdown and JSON say it on top; PDF, figures and tables are named in OUTDATED.txt.
    """
    found = sorted(path for path in folder.iterdir() if _is_report(path)) if folder.is_dir() else []
    for path in found:
        if (mark := _MARKS.get(path.suffix)) and path.is_file():
            text = mark(path.read_text(encoding="utf-8"), why)
            with writing(path) as beside:
                beside.write_text(text, encoding="utf-8")
    _write_list(folder, why, [path.name for path in found])
    return [path.name for path in found]


def is_written_anew(path: Path) -> None:
    """Take a report that was just written, with its figures and tables, off the list of outdated ones."""
    try:
        why, *names = (path.parent / LIST).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError):
        return
    renewed = {path.name, *(("figures", "tables") if path.suffix in (".html", ".md") else ())}
    _write_list(path.parent, why, [name for name in names if name not in renewed])


def _is_report(path: Path) -> bool:
    return not path.name.startswith(".") and path.name != LIST


def _write_list(folder: Path, why: str, names: list[str]) -> None:
    if not names:
        (folder / LIST).unlink(missing_ok=True)
        return
    with writing(folder / LIST) as beside:
        beside.write_text("\n".join([why, *names]) + "\n", encoding="utf-8")


def _in_html(text: str, why: str) -> str:
    notice = f'<p role="alert" style="background:#b00020;color:#fff;padding:1em">Outdated. {html.escape(why)}</p>'
    return text if notice in text else text.replace("<body>", f"<body>\n{notice}", 1)


def _in_markdown(text: str, why: str) -> str:
    notice = f"> **Outdated.** {html.escape(why)}\n\n"
    return text if text.startswith(notice) else notice + text


def _in_json(text: str, why: str) -> str:
    return json.dumps({"outdated": why} | json.loads(text), indent=2, ensure_ascii=False) + "\n"


_MARKS = {".html": _in_html, ".md": _in_markdown, ".json": _in_json}
