"""`advassay conclusions`: the five conclusions as tested statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.clean import clean

if TYPE_CHECKING:
    from advassay.analysis import Conclusion

Epsilon = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--epsilon", metavar="E", help="Amplitude of conclusions 3 to 5; 0.02 if not given."),
]


COLUMNS = {
    "number": "1 to 5, as in the reference study",
    "title": "its short name",
    "statement": "the claim that is tested",
    "estimand": "the quantity estimated",
    "estimate": "its value; null where it cannot be estimated",
    "low": "lower bound",
    "high": "upper bound",
    "bounds": "interval = confidence interval; undecided = what the undecided cohorts could make of it",
    "test": "the test behind the verdict",
    "p": "its p value, where there is one",
    "n": "units counted",
    "unit": "what is counted: cohorts, networks, …",
    "verdict": "supported, contradicted or undecided",
    "breadth": "what a verdict rests on, as in 5 of 8 cohorts; empty where undecided",
    "reason": "why, with the numbers",
    "level": "confidence level",
    "margin": "margin of equivalence or plateau, where one is used",
    "published": "what the reference study states",
    "alternatives": "what could explain it otherwise",
    "details": "one entry a cohort, arm or network",
}


@clean
def conclusions(store: options.StoreArgument, epsilon: Epsilon = None, as_json: options.Json = False) -> None:
    """Print the reference study's five conclusions tested on a store: verdict, estimate, interval, n and the reason.

    supported, contradicted or undecided, each with why; the published statement stands beside it. --json holds the
    numbers of every cohort, arm and network too.

    Example:

        advassay conclusions runs/demo
    """
    from advassay.analysis import conclusions as conclude
    from advassay.records import open_records

    found = conclude(open_records(store), epsilon)
    if as_json:
        import json

        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        _print(one)


def _print(one: Conclusion) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    console.print(f"{one.number}. {one.title}: {one.verdict.upper()} {one.breadth}".rstrip(), style="bold")
    table = Table.grid(padding=(0, 1, 0, 2))
    rows = {"claim": one.statement, "estimate": _estimate(one), "test": one.test, "why": one.reason}
    for name, text in (*rows.items(), ("published", one.published), *(("or else", text) for text in one.alternatives)):
        table.add_row(Text(name), Text(text))
    console.print(table)
    console.print()


def _estimate(one: Conclusion) -> str:
    about = f"({one.estimand}; n = {one.n} {one.unit})"
    if one.estimate is None:
        return f"none {about}"
    kind = (
        f"{100 * one.level:.0f}% interval" if one.bounds == "interval" else "bounds if the undecided all spoke one way"
    )
    span = "" if one.low is None or one.high is None else f" [{one.low:.3g}, {one.high:.3g}], {kind}"
    return f"{one.estimate:.3g}{span} {about}"
