from __future__ import annotations

import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
import polars as pl
import pytest
import yaml
from pikepdf import Name, Pdf
from PIL import Image
from simulate import make_store
from written_report import SMALL, SMALL_ARMS, Report

from advassay.checked_files import read_document, write_document
from advassay.errors import ReportError, StoreError
from advassay.records import open_records, read_image
from advassay.report import gather, write_report
from advassay.report.figures.figure import NARROW, WIDE, figures
from advassay.report.figures.image_panels import EXPORT_SCALE, SIDE
from advassay.store_layout import HEADER, Store

CAPTIONED = ("fig-2", "fig-3b", "fig-3c", "fig-3d")


def test_each_figure_is_written_as_png_svg_and_pdf(report: Report) -> None:
    keys = [figure.key for figure in figures(gather(report.store))]
    assert {"fig-1", "fig-2", "fig-3a", "fig-3b", "fig-3b-all", "fig-3c", "fig-3d", "fig-arms"} <= set(keys)
    assert {"fig-surface", "fig-epsilon50", "fig-survival", "fig-reliability", "fig-transitions"} <= set(keys)
    for key in keys:
        picture = cv2.imread(str(report.folder / "figures" / f"{key}.png"))
        assert picture.std() > 5, key
        assert "<svg" in (report.folder / "figures" / f"{key}.svg").read_text(encoding="utf-8")
        assert (report.folder / "figures" / f"{key}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_chart_keeps_to_the_schema_of_vega_lite(report: Report, width: int) -> None:
    for figure in figures(gather(report.store)):
        figure.draw(width).to_dict(validate=True)


def test_every_format_carries_title_and_alt_text(report: Report) -> None:
    for figure in figures(gather(report.store)):
        with Pdf.open(report.folder / "figures" / f"{figure.key}.pdf") as pdf:
            drawing = pdf.Root.StructTreeRoot.K[0].K[0]
            assert (drawing.S, str(drawing.Alt)) == (Name.Figure, figure.description)
            assert drawing.Pg == pdf.pages[0].obj
            content = b" ".join(part.read_bytes().strip() for part in pdf.pages[0].Contents)
            assert (content.startswith(b"/Figure <</MCID 0>> BDC"), content.endswith(b"EMC")) == (True, True)
            assert str(pdf.docinfo[Name.Title]) == f"Figure {figure.number}. {figure.title}"
        svg = (report.folder / "figures" / f"{figure.key}.svg").read_text(encoding="utf-8")
        with Image.open(report.folder / "figures" / f"{figure.key}.png") as picture:
            picture.load()
            said = picture.text  # type: ignore[attr-defined]
        assert said == {"Title": f"Figure {figure.number}. {figure.title}", "Description": figure.description}
        assert escape(figure.description) in svg


def test_captions_state_epsilon_attack_reading_and_n(report: Report) -> None:
    for figure in figures(gather(report.store)):
        if figure.key in ("fig-training", "fig-flow"):  # before any attack
            continue
        assert "projected-sign" in figure.caption, figure.key
        assert "step 0.01" in figure.caption, figure.key
        assert "8 iterations" in figure.caption, figure.key
        if figure.key in CAPTIONED:
            assert "ε = 0.02 (5.1/255)" in figure.caption, figure.key
        if figure.numbers is not None:
            assert "n = " in figure.caption or "images n" in figure.caption, figure.key
            assert any(words in figure.caption for words in ("95 % intervals", "counts, no intervals")), figure.key


def test_figure_1_keeps_every_pixel(report: Report) -> None:
    """The PNG shows the kept image enlarged by a whole factor: each of its pixels is a block of equal values."""
    found = gather(report.store)
    first = next(figure for figure in figures(found) if figure.key == "fig-1").rows[0].cells[0].pictures[0].image
    picture = cv2.imread(str(report.folder / "figures" / "fig-1.png"))
    factor = round(EXPORT_SCALE * SIDE / len(first))
    block = np.repeat(np.repeat(first, factor, axis=0), factor, axis=1)
    score = cv2.matchTemplate(picture, cv2.cvtColor(block, cv2.COLOR_GRAY2BGR), cv2.TM_SQDIFF)
    assert score.min() < 1e-6 * score.max()  # matchTemplate sums in float32: about 6e-8 of the whole


def test_figure_2_shows_only_images_that_fell(report: Report) -> None:
    found = gather(report.store)
    figure = next(figure for figure in figures(found) if figure.key == "fig-2")
    kept = [e for e in found.examples if e.fallen and e.epsilon == 0.02]
    originals = [read_image(Store(report.store).gallery, e.clean_file) for e in kept]
    assert figure.rows
    for row in figure.rows:
        for cell in row.cells:
            clean = cell.pictures[0].image
            assert any(np.array_equal(clean, o if o.dtype == np.uint8 else np.rint(o / 257.0)) for o in originals)


def test_a_table_is_written_once_and_drawn_from(report: Report) -> None:
    found = gather(report.store)
    for name, frame in found.tables.items():
        written = report.table(name)
        assert written.shape == frame.shape, name
        for column in (c for c in frame.columns if frame.schema[c] == pl.Float64):
            assert written[column].cast(pl.Float64).equals(frame[column], null_equal=True), (name, column)


def test_with_an_output_the_files_lie_beside_the_page(store: Path, tmp_path: Path) -> None:
    page = write_report(store, tmp_path / "paper.html")
    assert page == tmp_path / "paper.html"
    assert (tmp_path / "paper_files" / "figures" / "fig-3a.svg").stat().st_size > 1000
    assert (tmp_path / "paper_files" / "tables" / "cohorts.csv").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["paper.html", "paper_files"]


def test_what_is_missing_is_said(store: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(store, part, ignore=shutil.ignore_patterns("report"))
    for header in open_records(part).headers:
        if header.cohort == "H-BR" or (header.arm == "C"):
            shutil.rmtree(Store(part).run(header.run_id))
    shutil.rmtree(Store(part).gallery)
    text = write_report(part).read_text(encoding="utf-8")
    assert "Cohort H-BR: trained but not attacked; it is in no figure and no conclusion." in text
    assert "Cohort X-TB: not attacked by arm C." in text
    assert "Figure 1." not in text
    assert "Figure 3a." in text


def test_a_missing_amplitude_is_said(store: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(store, part, ignore=shutil.ignore_patterns("report"))
    path = part / "study.yaml"
    study = yaml.safe_load(path.read_text())
    study["attack"]["arms"]["A"]["epsilons"].append(0.3)
    path.write_text(yaml.safe_dump(study))
    assert any("ε 0.3 not recorded" in gap for gap in gather(part).missing)


def test_an_empty_store_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    with pytest.raises(ReportError, match="advassay run"):
        write_report(tmp_path)
    with pytest.raises(StoreError):
        write_report(tmp_path / "nowhere")


def test_a_store_without_study_preparation_or_training_is_reported(tmp_path: Path) -> None:
    """One's own model: runs and nothing else."""
    own = make_store(tmp_path / "own", SMALL[:1], {"A": SMALL_ARMS["A"]}, gallery=False)
    shutil.rmtree(own / "cohorts")
    shutil.rmtree(own / "classifiers")
    (own / "study.yaml").unlink()
    for path in own.glob(f"records/*/{HEADER}"):
        content = read_document(path, "") | {"controls": None, "train_size": None, "compute": None}
        write_document(path, content)
    text = write_report(own).read_text(encoding="utf-8")
    assert "No controls are recorded." in text
    assert "Figure 3a." in text
    assert "Figure 3d." not in text


def test_rows_of_a_killed_session_are_counted(store: Path, tmp_path: Path) -> None:
    """A header is counted when a session ends; its shards are there before."""
    part = tmp_path / "part"
    shutil.copytree(store, part, ignore=shutil.ignore_patterns("report"))
    header = next(h for h in open_records(part).headers if h.cohort == "X-TB" and h.arm == "A")
    path = Store(part).run(header.run_id) / HEADER
    nothing = {"points": [], "images": 0, "rows": 0, "flag_counts": {}, "controls": None}
    unfinished = {"cost": {**header.cost.model_dump(), "sessions_finished": 0}}
    write_document(path, read_document(path, "") | nothing | unfinished)
    found = gather(part)
    counted = next(run for run in found.runs if run.run_id == header.run_id)
    assert (counted.rows, counted.images, counted.points) == (header.rows, header.images, header.points)
    assert counted.flag_counts == header.flag_counts
    assert [gap for gap in found.missing if gap.startswith("Cohort X-TB, arm A: the attack was stopped")]
