"""`advassay conclusions`: the five conclusions as tested statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.options import say_without_runs

if TYPE_CHECKING:
    from advassay.analysis import Conclusion
    from advassay.records import Records

Epsilon = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--epsilon", metavar="E", help="Amplitude of question 3. Default: the study's analysis.epsilon (0.02)."
    ),
]


COLUMNS = {
    "number": "1 to 5, as in the reference study; 6 and 7 where the study asks them",
    "title": "its short name",
    "statement": "the claim that is tested",
    "headline": "the answer in a sentence",
    "estimand": "the quantity estimated",
    "estimate": "its value; null where it cannot be estimated",
    "low": "lower bound of the interval; null where it is open",
    "high": "upper bound",
    "bounds": "always interval: low and high are a confidence interval",
    "effect": "the estimate with its interval and unit, as text",
    "prediction_low": "where the effect in a new cohort is expected, lower end; null below three cohorts",
    "prediction_high": "upper end",
    "i2": "share of the variance that is between cohorts; null for one cohort",
    "test": "the test behind the verdict",
    "p": "two-sided p of no effect, where there is one",
    "p_holm": "the same, adjusted for the questions that test for an effect, 1, 2 and 4 (Holm)",
    "n": "units counted",
    "unit": "what is counted: cohorts or networks",
    "images": "images behind the effect",
    "verdict": "supported, contradicted or undecided",
    "verdict_holm": "the verdict after Holm's adjustment",
    "breadth": "what a verdict rests on, as in over 5 cohorts; empty where undecided",
    "reason": "why, with the numbers",
    "needed": "what it would take to decide; empty where decided",
    "remarks": "further results that do not decide",
    "level": "confidence level",
    "margin": "smallest effect that counts, where one is used",
    "arm": "the attack arm that decides",
    "step_size": "its step size",
    "reading": "iterate reading and dose reading",
    "prespecified": "true: planned before the first attack; false: after; null: the store holds no plan",
    "published": "what the reference study states",
    "alternatives": "alternative explanations",
    "details": "one entry a cohort or network",
}


@cli_errors
def conclusions(store: options.StoreArgument, epsilon: Epsilon = None, as_json: options.Json = False) -> None:
    """Print the reference study's five conclusions tested on a store: the answer, its effect, and why.

    Each verdict is supported, contradicted or undecided. The published result is printed beside it. Cohorts of
    the study without records are named. --json also holds the numbers of every cohort and network.

    Example:

        advassay conclusions runs/demo
    """
    from advassay.analysis.conclusions import conclusions as conclude
    from advassay.records import open_records

    records = open_records(store)
    found = conclude(records, epsilon)
    say_without_runs(records)
    if as_json:
        import json

        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2, ensure_ascii=False))
        return
    _print(found, records)


def _print(found: list[Conclusion], records: Records) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from advassay.analysis.conclusions.conclusion_text import basis, correction, plan_sentences, statistics_lines

    console = Console(highlight=False, markup=False)
    for one in found:
        console.print(f"{one.number}. {one.title}: {one.verdict.upper()} {one.breadth}".rstrip(), style="bold")
        console.print(" ".join(filter(None, (one.headline, basis(one), correction(one)))))
        table = Table.grid(padding=(0, 1, 0, 2))
        lines = [("To decide", one.needed), ("Reference study", one.published), *statistics_lines(one)]
        for label, text in lines:
            if text:
                table.add_row(Text(label), Text(text))
        console.print(table)
        console.print()
    for sentence in plan_sentences(records):
        console.print(sentence)
