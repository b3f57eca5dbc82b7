"""Writes docs/cli: a page per verb, from the verbs themselves.

    python -m advassay.cli.reference_pages docs/cli

A test writes the pages anew and compares, so that they cannot fall behind; it also fails for a verb, option or column
without its words.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from advassay.cli import (
    analyse,
    attack,
    conclusions,
    datasets,
    doctor,
    evaluate,
    label,
    merge,
    output_tables,
    power,
    prune,
    regions,
    sync,
    tiles,
    train,
    transfer,
)
from advassay.cli.error_handling import EXIT_CODES
from advassay.cli.program import GROUPS, app, summary_of
from advassay.report.figures.figure import FIGURES
from advassay.report.page_sections import in_page_order
from advassay.report.tables.table import TABLES
from advassay.spec.attack_components import list_components

COLUMNS: dict[str, Mapping[str, str]] = {
    "plan": output_tables.PLAN_COLUMNS,
    "status": output_tables.PLAN_COLUMNS,
    "doctor": doctor.COLUMNS,
    "prepare": output_tables.FLOW_COLUMNS,
    "select": output_tables.FLOW_COLUMNS,
    "datasets": datasets.COLUMNS,
    "regions": regions.COLUMNS,
    "analyse": analyse.COLUMNS,
    "conclusions": conclusions.COLUMNS,
    "power": power.COLUMNS,
    "evaluate": evaluate.COLUMNS,
    "attack": attack.COLUMNS,
    "merge": merge.COLUMNS,
    "sync": sync.COLUMNS,
    "prune": prune.COLUMNS,
    "train": train.COLUMNS,
    "transfer": transfer.COLUMNS,
}
"""Verb → the columns of its --json output, with their meaning."""

WRITTEN_TABLES: dict[str, Mapping[str, str]] = {"label": label.COLUMNS, "tiles": tiles.COLUMNS}
"""Verb → the columns of the table that it writes, with their meaning."""

_HEAD = "<!-- Written by `python -m advassay.cli.reference_pages docs/cli`. Do not edit: change the verb. -->\n\n"

_COMPLETION = """## Completion

`advassay --install-completion` lets bash, zsh, fish or PowerShell complete verbs and options with the Tab key, in
shells that are opened afterwards. `advassay --show-completion` prints the script instead."""


def pages() -> dict[str, str]:
    """File name → text of every page, the index included."""
    verbs = {command.name: command for command in commands()}
    texts = {f"{name}.md": _page(name, command) for name, command in verbs.items()}
    return {"README.md": _index(verbs)} | texts


def commands() -> Iterator[Any]:
    """The verbs as the command line knows them, in its order."""
    group = typer.main.get_command(app)
    yield from group.commands.values()  # type: ignore[attr-defined]


def _index(verbs: Mapping[str, Any]) -> str:
    parts = ["# The command line"]
    for heading, group in GROUPS.items():
        names = [verb.__name__ for verb in group]
        lines = [f"- [advassay {name}]({name}.md): {summary_of(verbs[name])}" for name in names]
        parts.append(f"## {heading}\n\n" + "\n".join(lines))
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}")
    parts.append(_COMPLETION)
    return _HEAD + "\n\n".join(parts) + "\n"


def _page(name: str, command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help).partition("Example:")
    parts = [f"# advassay {name}", text.strip(), "Example:\n\n```\n" + inspect.cleandoc(example) + "\n```"]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    if arguments:
        parts.append("## Arguments\n\n" + "\n".join(_argument(p) for p in arguments))
    if options:
        parts.append("## Options\n\n| option | meaning | default |\n|---|---|---|\n" + "\n".join(map(_option, options)))
    for field, components in list_components().items() if name == "attack" else ():
        rows = "\n".join(f"| `{component}` | {summary} |" for component, summary in components.items())
        parts.append(f"## Values of attack.{field}\n\n| value | meaning |\n|---|---|\n{rows}")
    for title, known in (("Columns of --json", COLUMNS), ("Columns of the table", WRITTEN_TABLES)):
        if name in known:
            rows = "\n".join(f"| `{column}` | {meaning} |" for column, meaning in known[name].items())
            parts.append(f"## {title}\n\n| column | meaning |\n|---|---|\n{rows}")
    if name == "report":
        parts.append(_report_contents())
    return _HEAD + "\n\n".join(parts) + "\n"


def _report_contents() -> str:
    """What a report holds: registered figures and tables, in the order of the page."""
    figures = in_page_order(FIGURES.parts())
    lines = [f"| `{one.name}` | {one.number} | {inspect.getdoc(one.make)} |" for one in figures]
    tables = [f"| `{one.name}.csv` | {one.about} |" for one in TABLES.parts()]
    return (
        "## Figures\n\nIn the order of the page; those without a number are counted from 4, or as S1, S2, ….\n\n"
        "| file | number | content |\n|---|---|---|\n" + "\n".join(lines) + "\n\n"
        "## Tables\n\n| file | content |\n|---|---|\n" + "\n".join(tables)
    )


def _argument(parameter: Any) -> str:
    needed = "" if parameter.required else " Optional."
    return f"- `{(parameter.metavar or parameter.name).strip('[]')}`: {parameter.help}{needed}"


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.opts[0] if parameter.default is True else parameter.default
    value = "" if default in (None, False) or callable(default) else f"`{getattr(default, 'value', default)}`"
    environment = f" Environment: `{parameter.envvar}`." if parameter.envvar else ""
    return f"| {names} | {parameter.help}{environment} | {value} |"


def write(folder: Path) -> None:
    """Write every page into `folder`; pages of verbs that no longer exist are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = pages()
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
