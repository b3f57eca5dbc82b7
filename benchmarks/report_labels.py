"""Reports → labels, measured: how often the rules agree with the labels of Open-i and PadChest, and how fast.

    export ADVASSAY_DATA=../data
    python benchmarks/report_labels.py                       # the table of docs/results/report-labels.md
    python benchmarks/report_labels.py --half development    # the half on which rules are written
    python benchmarks/report_labels.py --errors pneumonia    # its disagreements, development half only
    python benchmarks/report_labels.py --speed 1900000       # made-up short reports, reports/s

The half of a patient (Open-i names none: of a report) follows from the hash of the id: development or reported. The
last column counts only reports whose text stands nowhere in the other half: radiologists use templates, and a template
that was there when the rules were written is no test of them.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from statsmodels.stats.proportion import proportion_confint

from advassay.sources.reports import LABELS, label_reports
from advassay.sources.table_files import read_table

ENOUGH = 30
"""Fewer positives than this in a half: not measurable."""

Reference = dict[str, Callable[[set[str]], bool]]

AORTA_TERMS = {"aortic elongation", "ascendent aortic elongation", "descendent aortic elongation"}
PADCHEST: Reference = {
    "norm": lambda terms: terms - {"unchanged"} == {"normal"},
    "emphysema": lambda terms: bool(terms & {"emphysema"}),
    "fibrosis": lambda terms: bool(terms & {"pulmonary fibrosis", "fibrotic band"}),
    "pneumonia": lambda terms: bool(terms & {"pneumonia", "atypical pneumonia"}),
    "focal_shadows": lambda terms: bool(terms & {"nodule", "multiple nodules", "miliary opacities"}),
    "tuberculosis": lambda terms: bool(terms & {"tuberculosis", "tuberculosis sequelae"}),
    "aortic_rotation": lambda terms: bool(terms & AORTA_TERMS),
}
"""Label of the rules → whether a study's PadChest labels say it. Bronchitis and pneumosclerosis have no label there."""


def _heading(*names: str, part: str = "", never: tuple[str, ...] = ()) -> Callable[[set[str]], bool]:
    """A MeSH code (heading/qualifier/…) of one of these headings, with `part` and none of `never` as qualifiers."""

    def stated(codes: set[str]) -> bool:
        for code in codes:
            heading, *qualifiers = code.split("/")
            if heading in names and (not part or part in qualifiers) and not set(never) & set(qualifiers):
                return True
        return False

    return stated


def _any_of(*rules: Callable[[set[str]], bool]) -> Callable[[set[str]], bool]:
    return lambda codes: any(rule(codes) for rule in rules)


OPEN_I: Reference = {
    "norm": lambda codes: codes == {"normal"},
    "emphysema": _heading("Emphysema", "Pulmonary Emphysema", "Bullous Emphysema"),
    "fibrosis": _heading(
        "Pulmonary Fibrosis", "Cicatrix", never=("pleura", "ribs", "costophrenic angle", "cardiophrenic angle")
    ),
    "pneumonia": _heading("Pneumonia"),
    "focal_shadows": _any_of(
        _heading("Nodule", never=("pleura", "ribs")),
        _heading("Opacity", "Density", part="focal", never=("ribs",)),
        _heading("Opacity", "Density", part="round", never=("ribs",)),
    ),
    "bronchitis": _heading("Bronchitis"),
    "tuberculosis": _heading("Tuberculosis"),
    "aortic_rotation": _heading("Aorta", "Aorta, Thoracic", part="tortuous"),
}


def open_i(data: Path) -> tuple[pl.DataFrame, list[str], str, Reference, str]:
    table = read_table(data / "reports/openi/openi_reports.csv")
    terms = pl.col("mesh_major").fill_null("").str.split("|").list.eval(pl.element().str.strip_chars())
    table = table.filter(pl.col("mesh_major") != "No Indexing")  # no reference for these
    return table.with_columns(terms=terms, patient="report_id"), ["findings", "impression"], "report_id", OPEN_I, "en"


def padchest(data: Path) -> tuple[pl.DataFrame, list[str], str, Reference, str]:
    return _padchest(pl.read_csv(data / "reports/padchest/padchest_reports.csv.gz", infer_schema=False))


def padchest_by_physicians(data: Path) -> tuple[pl.DataFrame, list[str], str, Reference, str]:
    """The part that people labelled; the labels of the rest are a network's, which read the same text."""
    table = pl.read_csv(data / "reports/padchest/padchest_reports.csv.gz", infer_schema=False)
    return _padchest(table.filter(pl.col("MethodLabel") == "Physician"))


def _padchest(table: pl.DataFrame) -> tuple[pl.DataFrame, list[str], str, Reference, str]:
    terms = [sorted({term.strip() for term in ast.literal_eval(said or "[]")} - {""}) for said in table["Labels"]]
    table = table.with_columns(pl.Series("terms", terms, dtype=pl.List(pl.String)), patient="PatientID")
    return table, ["Report"], "StudyID", PADCHEST, "es"


COLLECTIONS = {"Open-i": open_i, "PadChest": padchest, "PadChest by physicians": padchest_by_physicians}


def in_development(patient: str) -> bool:
    return hashlib.sha256(patient.encode()).digest()[0] % 2 == 0


def evaluate(name: str, half: str, data: Path, errors: str | None) -> None:
    table, text, key, reference, language = COLLECTIONS[name](data)
    development = pl.col("patient").map_elements(in_development, return_dtype=pl.Boolean)
    asked = development if half == "development" else ~development
    seen = set(map(_as_compared, table.filter(~asked).select(text).iter_rows()))
    table = table.filter(asked)
    unseen = [_as_compared(said) not in seen for said in table.select(text).iter_rows()]
    table = table.with_columns(unseen=pl.Series(unseen, dtype=pl.Boolean))
    labels = label_reports(table, text=text, id=key, language=language)
    joined = labels.frame.join(table.select(key, "terms", "unseen", *text), on=key, maintain_order="left")
    print(
        f"\n{name}, {half} half: {joined.height:,} reports read, {joined['unseen'].sum():,} of them of a text that the"
    )
    print(f"other half does not hold; left out: {labels.counts()}")
    print(
        "| label | positives | true | false | missed | precision | recall | F1 | uncertain counted too | unseen texts |"
    )
    print("|---|--:|--:|--:|--:|---|---|--:|---|---|")
    for label in LABELS:
        if label in reference:
            print(_row(label, joined, reference[label]))
        else:
            print(f"| {label} | – | {(joined[label] == 'present').sum()} stated | | | no reference label | | | | |")
    if errors:
        _print_errors(errors, joined, reference[errors], text)


def _as_compared(said: tuple[str | None, ...]) -> str:
    """A report's text without what makes no difference: case, white space, full stops."""
    return " ".join(" ".join(part or "" for part in said).casefold().replace(".", " ").split())


def _row(label: str, joined: pl.DataFrame, stated: Callable[[set[str]], bool]) -> str:
    truth = pl.Series([stated(set(terms)) for terms in joined["terms"]])
    hit, false, missed = _counts(truth, joined[label] == "present")
    counts = f"| {label} | {truth.sum()} | {hit} | {false} | {missed} |"
    if truth.sum() < ENOUGH:
        return f"{counts} not measurable (fewer than {ENOUGH} positives) | | | | |"
    wide_hit, wide_false, wide_missed = _counts(truth, joined[label].is_in(["present", "uncertain"]))
    wide = f"precision {wide_hit / (wide_hit + wide_false):.3f}, recall {wide_hit / (wide_hit + wide_missed):.3f}"
    f1 = 2 * hit / (2 * hit + false + missed)
    wide = "" if label == "norm" else wide
    shares = f"{_share(hit, hit + false)} | {_share(hit, hit + missed)} | {f1:.2f}"
    return f"{counts} {shares} | {wide} | {_unseen(truth, joined[label] == 'present', joined['unseen'])} |"


def _unseen(truth: pl.Series, said: pl.Series, unseen: pl.Series) -> str:
    hit, false, missed = _counts(truth.filter(unseen), said.filter(unseen))
    if hit + missed < ENOUGH:
        return f"fewer than {ENOUGH} positives"
    precision = f"{hit / (hit + false):.3f}" if hit + false else "–"
    return f"{hit} / {false} / {missed}: precision {precision}, recall {hit / (hit + missed):.3f}"


def _counts(truth: pl.Series, said: pl.Series) -> tuple[int, int, int]:
    return (truth & said).sum(), (~truth & said).sum(), (truth & ~said).sum()


def _share(count: int, n: int) -> str:
    if n == 0:
        return "–"
    low, high = proportion_confint(count, n, method="wilson")
    return f"{count / n:.3f} ({low:.3f}–{high:.3f})"


def _print_errors(label: str, joined: pl.DataFrame, stated: Callable[[set[str]], bool], text: list[str]) -> None:
    for row in joined.iter_rows(named=True):
        truth, said = stated(set(row["terms"])), row[label] == "present"
        if truth != said:
            made = [one for one in row["evidence"] if one["label"] == label]
            where = f"{made[0]['entry']} / {made[0]['cue']}" if made else ""
            print("FALSE " if said else "MISSED", f"[{row[label]}; {where}]", row["terms"], *(row[one] for one in text))


def speed(count: int, processes: int) -> None:
    """Made-up reports of 1–4 sentences, nearly all different: the worst case for reading equal texts once."""
    draw = random.Random(0)
    sentences = [
        "Heart size is normal.", "The lungs are clear.", "No pneumothorax or pleural effusion.",
        "Mild emphysema with scarring at the apices.", "The aorta is mildly tortuous.", "No acute bony abnormality.",
        "Findings may represent pneumonia.", "Calcified granuloma in the right lower lobe.",
    ]  # fmt: skip
    reports = [f"Study {n}. {' '.join(draw.choices(sentences, k=draw.randint(1, 4)))}" for n in range(count)]
    table = pl.DataFrame({"id": [str(n) for n in range(count)], "text": reports})
    began, busy = time.perf_counter(), _cpu_seconds()
    labels = label_reports(table, text=["text"], id="id", language="en", processes=processes)
    seconds = time.perf_counter() - began
    busy = _cpu_seconds() - busy
    print(f"{count:,} reports ({labels.distinct_texts:,} different), {processes} processes: {seconds:.1f} s,")
    print(f"{count / seconds:,.0f} reports/s; {busy:.1f} s of CPU, {count / busy:,.0f} reports per CPU second")


def _cpu_seconds() -> float:
    """Of this process and its finished children: what counts on a machine that others use too."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=["reported", "development"], default="reported")
    parser.add_argument("--errors", choices=LABELS, help="print disagreements about this label (development half)")
    parser.add_argument("--only", choices=COLLECTIONS)
    parser.add_argument("--speed", type=int, metavar="N", help="time N made-up reports instead")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.speed:
        speed(asked.speed, asked.processes)
        return
    half = "development" if asked.errors else asked.half
    for name in [asked.only] if asked.only else COLLECTIONS:
        evaluate(name, half, Path(os.environ["ADVASSAY_DATA"]), asked.errors)


if __name__ == "__main__":
    main()
