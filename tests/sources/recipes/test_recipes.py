"""Each recipe reads its set as it is published, and its cohort rules find images in it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import polars as pl
import pytest
from excerpts import EXCERPTS, medmnist

from advassay.cohorts import prepare
from advassay.errors import AdvassayWarning, SourceError
from advassay.sources import open_source
from advassay.sources.datasets import card_names, check, load_card, study_blocks
from advassay.spec.source_spec import NpzSource
from advassay.study import parse_study
from advassay.study.config.study_templates import dataset_study

FAMILY = {
    **{"pathmnist": (9, True), "dermamnist": (7, True), "octmnist": (4, False), "pneumoniamnist": (2, False)},
    **{"retinamnist": (5, True), "breastmnist": (2, False), "bloodmnist": (8, True), "tissuemnist": (8, False)},
    **{"organamnist": (11, False), "organcmnist": (11, False), "organsmnist": (11, False)},
}
SLIDES = {"camelyon16", "tupac16"}


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A small copy of the set named by the test's parameter, in a folder of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    EXCERPTS[request.param](folder)
    return folder


def prepared(name: str, folder: Path, out: Path) -> dict[str, dict[str, int]]:
    """Every cohort of the recipe made from `folder`: cohort → class → images. Noise has no aorta: no regions."""
    found, counts = load_card(name), {}
    for cohort, spec in found.cohorts.items():
        spec = spec.model_copy(update={"region": None, "tuning_fraction": 0.0})
        source = found.sources[spec.source].model_copy(update={"path": str(folder)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdvassayWarning)  # small sets leave single sides thin, and are told so
            made = prepare(
                cohort,
                spec,
                source,
                size_px=16,
                seed=0,
                folder=out / cohort,
                data=None,
                key=b"k" * 16,
                private=out / "sources.parquet",
            )
        sums: dict[str, int] = {}
        for classes in made.counts.values():
            for label, number in classes.items():
                sums[label] = sums.get(label, 0) + number
        counts[cohort] = sums
    return counts


def test_every_recipe_has_a_test_of_its_layout() -> None:
    assert set(card_names()) == {*EXCERPTS, *FAMILY, *SLIDES, "chestmnist"}


@pytest.mark.parametrize("excerpt", EXCERPTS, indirect=True)
def test_of_a_part_laid_out_as_published_only_numbers_are_missing(
    excerpt: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["excerpt"]
    found = check(load_card(name), excerpt)
    assert found.missing == ()
    assert all(re.fullmatch(r"[\d,]+ of [\d,]+", finding.found) for finding in found.short)
    assert not found.short or not found.complete
    assert found.images > 0
    assert [
        finding.what for finding in found.findings if finding.about == "layout" and finding.status == "differs"
    ] == []


@pytest.mark.parametrize("excerpt", EXCERPTS, indirect=True)
def test_cohort_rules_find_images_of_every_class(excerpt: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    counts = prepared(request.node.callspec.params["excerpt"], excerpt, tmp_path)
    assert all(number >= 4 for classes in counts.values() for number in classes.values()), counts


@pytest.mark.parametrize(("name", "shape"), FAMILY.items())
def test_medmnist_files_give_every_class(name: str, shape: tuple[int, bool], tmp_path: Path) -> None:
    medmnist(tmp_path, name, *shape)
    found = check(load_card(name), tmp_path / ".." / tmp_path.name)
    assert found.images == 16 * shape[0]
    assert any(finding.status == "differs" and finding.about == "checksums" for finding in found.findings)
    counts = prepared(name, tmp_path / f"{name}.npz", tmp_path / "out")
    assert all(number > 0 for classes in counts.values() for number in classes.values())


def test_every_pasted_block_is_a_study() -> None:
    for name in card_names():
        assert parse_study(dataset_study(name)).name == name
        assert study_blocks(name).startswith("# ")


def test_columns_of_nih_follow_its_table(tmp_path: Path) -> None:
    EXCERPTS["nih-chestxray14"](tmp_path)
    rows = open_source(
        "nih", load_card("nih-chestxray14").sources["nih"].model_copy(update={"path": str(tmp_path)}), None
    ).rows
    first, last = rows.row(0, named=True), rows.sort("path").filter(pl.col("norm") == "absent").row(0, named=True)
    assert (first["patient_id"], first["age"], first["sex"], first["view"]) == ("00000001", 22, "M", "PA")
    assert (first["norm"], first["split"]) == ("present", "training")
    assert (last["pneumonia"], last["emphysema"], last["split"]) == ("present", "absent", "validation")


def test_a_childs_age_in_months_is_unknown(tmp_path: Path) -> None:
    EXCERPTS["shenzhen"](tmp_path)
    source = load_card("shenzhen").sources["shenzhen"].model_copy(update={"path": str(tmp_path)})
    ages = open_source("shenzhen", source, None).rows.sort("path")
    assert ages["age"].to_list()[:3] == [None, 21, 22]
    assert ages["sex"].to_list()[:2] == ["F", "M"]


def test_three_readers_decide_by_majority(tmp_path: Path) -> None:
    EXCERPTS["vindr-cxr"](tmp_path)
    source = load_card("vindr-cxr").sources["vindr"].model_copy(update={"path": str(tmp_path)})
    rows = open_source("vindr", source, None).rows.sort("path")
    stated = dict(zip(rows["path"], rows["aortic_enlargement"], strict=True))
    assert stated[f"train/{1:032x}.dicom"] == "present"
    assert stated[f"train/{2:032x}.dicom"] == "absent"
    assert rows["age"].to_list() == [40.0] * 24


def test_a_set_that_other_kinds_read_is_refused_as_a_dataset(tmp_path: Path) -> None:
    source = load_card("lc25000").sources["lc25000"].model_copy(update={"path": str(tmp_path), "recipe": "pcam"})
    with pytest.raises(SourceError, match=r"kind: dataset.*got 'pcam' \(kind: hdf5\)"):
        open_source("pcam", source, None)


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(SourceError, match=r"one of .*lc25000.*; got 'imagenet'"):
        load_card("imagenet")
    with pytest.raises(SourceError, match=r"Did you mean 'lc25000'\?"):
        load_card("lc2500")


def test_chestmnist_names_the_findings_of_each_image(tmp_path: Path) -> None:
    medmnist(tmp_path, "chestmnist", 2, colour=False, labels_of_one=14)
    path = tmp_path / "chestmnist.npz"
    rows = open_source("c", NpzSource(kind="npz", path=str(path)), None).rows
    assert set(rows["label"]) == {"none", "4"}


def test_real_samples_are_called_samples(data: Path) -> None:
    lc25000 = check(load_card("lc25000"), data / "histology" / "lc25000")
    assert (lc25000.verdict, lc25000.images) == ("another layout", 1923)
    assert "class: lung_scc" in [finding.what for finding in lc25000.missing]
    assert "1,923 of 25,000" in [finding.found for finding in lc25000.short]
    altered = check(load_card("pneumoniamnist"), data / "xray" / "pneumoniamnist_28")
    assert (altered.verdict, altered.images) == ("altered", 5856)
