"""Stores side by side: the same images paired, what differs said, what cannot be compared refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from simulate import make_store
from statsmodels.stats.multitest import multipletests
from written_report import SMALL, SMALL_ARMS

from advassay.analysis.conclusions import conclusions
from advassay.errors import ReportError
from advassay.records import open_records
from advassay.report import compare, write_comparison
from advassay.report.comparison.comparison_answer import compared_screen, most_different
from advassay.report.comparison.comparison_page import figures, statements
from advassay.report.comparison.setting_differences import ExecutionInfo, differing
from advassay.report.comparison.store_comparison import Comparison
from advassay.report.figures.figure import NARROW, WIDE
from advassay.report.text.number_format import points

STRONGER = 1.5


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same images and networks, attacked with and without an extra dose."""
    folder = tmp_path_factory.mktemp("stores")
    arms = {"A": SMALL_ARMS["A"]}
    relative = {"A": SMALL_ARMS["A"].model_copy(update={"step_sizes": ("epsilon/4",)})}
    plain = make_store(folder / "plain", SMALL, arms, gallery=False)
    return plain, make_store(folder / "strong", SMALL, relative, gallery=False, arm_dose={"A": STRONGER})


@pytest.fixture(scope="module")
def found(stores: tuple[Path, Path]) -> Comparison:
    return compare(stores)


def test_a_stronger_attack_is_found_to_fell_more_of_the_same_images(found: Comparison) -> None:
    rows = found.tables["differences"]
    assert rows.select("cohort", "epsilon").n_unique() == len(rows) == 6
    assert (rows["difference"] >= 0).all()
    assert (rows["low"] > 0).any()
    rates = found.tables["curves"].pivot("store", index=["cohort", "epsilon"], values="rate")
    joined = rows.join(rates, on=["cohort", "epsilon"])
    assert (joined["strong"] - joined["plain"] - joined["difference"]).abs().max() < 1e-9  # type: ignore[operator]


def test_what_differs_is_said_with_its_interval_and_what_is_not_shown_is_not_called_none(found: Comparison) -> None:
    [said] = statements(found)
    rows = found.tables["differences"]
    shown = rows.filter(pl.col("p_adjusted") <= 0.05)
    assert shown["cohort"].n_unique() > 0
    for row in shown.sort("difference", descending=True).unique("cohort", keep="first").iter_rows(named=True):
        assert f"{row['cohort']} ({points(row['difference'])} points [{points(row['low'])}, " in said
    assert "strong against plain: success is higher in" in said
    level = found.tables | {"differences": rows.with_columns(p_adjusted=pl.lit(0.5))}
    assert (
        "no difference is shown in X-TB and H-BR, where intervals reach" in statements(replace(found, tables=level))[0]
    )
    nothing = {name: frame for name, frame in found.tables.items() if name != "differences"}
    assert "nothing is paired" in statements(replace(found, tables=nothing))[0]


def test_p_values_are_adjusted_over_cohorts_and_amplitudes_together(found: Comparison) -> None:
    rows = found.tables["differences"]
    expected = multipletests(rows["p"].to_numpy(), method="holm")[1]
    assert rows["p_adjusted"].to_numpy() == pytest.approx(expected)


def test_every_store_has_its_five_verdicts_and_every_cohort_its_epsilon50(
    found: Comparison, stores: tuple[Path, Path]
) -> None:
    verdicts = found.tables["verdicts"]
    for store, root in zip(("plain", "strong"), stores, strict=True):
        own = verdicts.filter(store=store)
        assert own["verdict"].to_list() == [one.verdict for one in conclusions(open_records(root))]
        assert own["question"][0] == "1. Amplitude"
    doses = found.tables["epsilon50"].sort("cohort", "store")
    assert doses.select("cohort", "store").rows() == [
        ("H-BR", "plain"), ("H-BR", "strong"), ("X-TB", "plain"), ("X-TB", "strong")
    ]  # fmt: skip
    assert doses["text"].is_not_null().all()


def test_settings_concern_compared_cohorts_and_sources_stand_under_them() -> None:
    def study(source: str, images: int) -> str:
        cohorts = {name: {"source": source, "title": source, "balance": []} for name in ("X-TB", "H-BR")}
        return json.dumps({"name": source, "sources": {source: {"images": images}}, "cohorts": cohorts})

    found = differing({"a": ExecutionInfo(study("one", 400), []), "b": ExecutionInfo(study("two", 300), [])}, ["X-TB"])
    assert found.rows() == [("cohorts.X-TB.source.images", "400", "300")]


def test_only_settings_that_differ_are_listed(found: Comparison) -> None:
    settings = found.tables["settings"]
    assert ("attack.arms.A.step_sizes", "0.01", "epsilon/4") in settings.rows()
    assert settings.filter(pl.col("plain") == pl.col("strong")).is_empty()
    assert not settings["setting"].str.contains("cohorts").any()


def test_a_store_against_itself_differs_in_nothing(stores: tuple[Path, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(stores[0], again)
    same = compare([stores[0], again])
    assert same.tables["differences"]["difference"].to_list() == [0.0] * 6
    assert "settings" not in same.tables
    assert same.warnings == []


def test_a_cohort_that_one_store_lacks_is_said(stores: tuple[Path, Path], tmp_path: Path) -> None:
    part = make_store(tmp_path / "part", SMALL[:1], {"A": SMALL_ARMS["A"]}, gallery=False)
    alone = compare([stores[0], part])
    assert list(alone.cohorts) == ["X-TB"]
    assert any("H-BR" in text for text in alone.warnings)


def test_what_cannot_be_compared_is_refused(stores: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", SMALL[1:], {"A": SMALL_ARMS["A"]}, gallery=False)
    first = make_store(tmp_path / "first", SMALL[:1], {"A": SMALL_ARMS["A"]}, gallery=False)
    with pytest.raises(ReportError, match="expected at least two, got 1"):
        compare([stores[0]])
    with pytest.raises(ReportError, match="a cohort that all of them attacked"):
        compare([first, other])


def test_the_page_asks_no_network_and_holds_every_difference(stores: tuple[Path, Path], tmp_path: Path) -> None:
    page = write_comparison(stores, tmp_path / "compare.html")
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert [text.count(f'data-table="{name}"') for name in ("differences", "verdicts", "epsilon50")] == [1, 1, 1]
    assert text.count('data-column="store" data-value="strong"') >= 6  # curves say whose they are
    assert "Comparison of plain and strong" in text
    assert (tmp_path / "compare_files" / "figures" / "fig-differences.pdf").stat().st_size > 1000
    assert len(pl.read_csv(tmp_path / "compare_files" / "tables" / "differences.csv")) == 6


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_chart_of_a_comparison_keeps_to_the_schema_of_vega_lite(found: Comparison, width: int) -> None:
    for figure in figures(found):
        figure.draw(width).to_dict(validate=True)


def test_the_first_screen_gives_each_cohort_of_each_store_a_line(stores: tuple[Path, Path], found: Comparison) -> None:
    screen = compared_screen(found, [open_records(store) for store in stores])
    assert screen.table is not None
    assert [(line.name, line.below) for line in screen.table.lines] == [
        (cohort, f"{store}, arm A") for cohort in found.cohorts for store in found.names
    ]
    halves = found.tables["epsilon50"]
    for line, row in zip(screen.table.lines, halves.iter_rows(named=True), strict=True):
        assert row["cohort"] == line.name
        assert " ".join(line.half[:2]).strip() == row["text_255"]
    [curve] = screen.figures  # no image was kept
    assert curve.title.startswith(most_different(found))
    assert any("Whether a person would notice" in text for text in screen.not_shown)


def test_the_page_of_a_comparison_begins_with_the_answer(stores: tuple[Path, Path], tmp_path: Path) -> None:
    html = write_comparison(stores, tmp_path / "compare.html").read_text(encoding="utf-8")
    assert html.index('id="answer"') < html.index("strong against plain:") < html.index('id="stores"')
    assert "./compare_files/figures/fig-curves.svg" in html
    assert (tmp_path / "compare_files" / "figures" / "fig-curves.svg").exists()
