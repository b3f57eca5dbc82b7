"""A wrong study file is refused with file, line, field, rule and value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_study import TINY

from advassay.errors import AdvassayError, AdvassayWarning, SpecError
from advassay.spec.study_spec import AttackSpec, Study
from advassay.study import load_study, parse_study, study_yaml
from advassay.study.config.yaml_tree import YamlTree, parse_value

SHIPPED = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(SpecError) as error:
        parse_study(text, name="s.yaml", overrides=overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("updates: 4", "updates: 0", "s.yaml:19: training.updates: Input should be greater than or equal to 1, got 0."),
        ("updates: 4", "update: 4", "training.update: no such field here, got 4; did you mean updates?"),
        ("per_class: 40", "per_class: many", "s.yaml:12: cohorts.X-TB.per_class: "),
        ("source: chest\n", "source: chst\n", "cohorts.X-TB.source: one of ['breast', 'chest'], got 'chst'."),
        ("epsilons: [0.02, 0.1]", "epsilons: [0.02, 4]", 's.yaml:23: attack.epsilons: epsilon: a fraction of'),
        ("C: {loss: margin", "C: {los: margin", "s.yaml:27: attack.arms.C.los: no such field here, got 'margin'"),
        ("signal: 3}", "signal: -3}", "s.yaml:6: sources.breast.signal: Input should be greater than or equal to 0"),
        ("name: tiny", "name: a/b", "s.yaml:2: name: String should match pattern"),
        ("  X-TB:", "  ../X-TB:", "s.yaml:8: cohorts.../X-TB: a name is letters, digits, '.', '_', '-', the first a"),
        ("  breast: {", "  my breast: {", "s.yaml:6: sources.my breast: a name is letters, digits"),
        ("    C: {", "    C/D: {", "attack.arms.C/D: a name is letters, digits"),
        ("updates: 4,", "updates: 4, weights: 7,", "training.weights: expected a path written as text, got 7."),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_line_field_rule_and_value(old: str, new: str, message: str) -> None:
    assert message in refused(TINY.replace(old, new, 1))


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = refused(TINY.replace("per_class: 40", "per_class: x", 1).replace("steps: 3", "steps: -1"))
    assert text.index("s.yaml:12: cohorts.X-TB.per_class") < text.index("s.yaml:21: attack.steps")


def test_a_missing_field_is_named() -> None:
    assert "training: this field is needed." in refused("name: s\ncohorts: {}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "s.yaml:1: not readable as YAML"),
        ("- a list", "a study is a mapping of fields, got list"),
        ("", "a study is a mapping of fields, got NoneType"),
        ("name: a\nname: b", "s.yaml:2: name: each key once, it also stands in line 1."),
        ("name: !!python/object/apply:os.system [ls]", "s.yaml:1: not readable as YAML"),
    ],
)
def test_what_is_no_study_is_refused(text: str, message: str) -> None:
    assert message in refused(text)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_study(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="expected a readable YAML file"):
        load_study(tmp_path / "binary.yaml")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_crashes_the_reader(text: str) -> None:
    with pytest.raises(AdvassayError):
        parse_study(text)


def test_scalars_mean_what_they_look_like() -> None:
    assert parse_value("[no, off, 010, 1e-4, 2020-01-01, 12:30, 5/255, ~, true]") == [
        "no", "off", 10, 1e-4, "2020-01-01", "12:30", "5/255", None, True,
    ]  # fmt: skip


def test_a_line_is_found_through_a_merged_mapping() -> None:
    tree = YamlTree("base: &b\n  steps: 1\nattack:\n  <<: *b\n  images: 2\n", "s.yaml")
    assert tree.line(("attack", "steps")) == 2
    assert tree.line(("attack", "images")) == 5
    assert tree.line(("attack", "absent")) == 3


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("attack.steps=5", lambda s: s.attack.steps, 5),
        ("attack.arms.C.epsilons=[0.02,5/255]", lambda s: s.attack.arm("C").epsilons, (0.02, 5 / 255)),
        ("image_size_px=75", lambda s: s.image_size_px, 75),
        ("cohorts.X-TB.per_class=7", lambda s: s.cohorts["X-TB"].per_class, 7),
        ("cohorts.X-TB.per_class.norm=7", None, "holds a value, not fields"),
        ("cohorts.X-TB.where.sex=[F]", lambda s: s.cohorts["X-TB"].where["sex"].in_, ("F",)),
        ("sources.chest.images=9", lambda s: s.sources["chest"].images, 9),
        ("sources.chest.prevalence.tuberculosis=0.1", lambda s: s.sources["chest"].prevalence, {"tuberculosis": 0.1}),
        ("attack.arms.C.steps=1", lambda s: s.attack.arm("C").steps, 1),
        ("attack.arms.D={norm: l2}", lambda s: s.attack.arm("D").norm, "l2"),
        ("training.seed=3", lambda s: s.training.seed, 3),
        ("figures.gallery=off", lambda s: s.figures.gallery, False),
        ("attack.stepz=5", None, "'stepz' is not a part of attack. Close matches: steps"),
        ("cohorts.X-TV.per_class=5", None, "'X-TV' is not a part of cohorts. Close matches: X-TB"),
        ("sources.chest.path=a", None, "'path' is not a part of sources.chest."),
        ("attack.steps=[", None, "must be YAML"),
        ("attack.steps", None, "expected PATH=VALUE"),
        ("attack.steps=-5", None, "--set attack.steps=-5: attack.steps: Input should be greater than or equal to 0"),
    ],
)
def test_set_changes_one_value_or_says_why_not(override, field, value) -> None:  # type: ignore[no-untyped-def]
    if field is None:
        assert value in refused(TINY, override)
    else:
        assert field(parse_study(TINY, overrides=[override])) == value


def test_set_does_not_reach_through_a_yaml_alias() -> None:
    text = TINY.replace("C: {loss: margin", "B: &b {loss: margin}\n    D: *b\n    C: {loss: margin")
    study = parse_study(text.replace("D: *b", "D: {<<: *b, norm: l2}"), overrides=["attack.arms.B.loss=dlr"])
    assert (study.attack.arm("B").loss, study.attack.arm("D").loss) == ("dlr", "margin")


def test_set_says_which_arms_it_does_not_reach() -> None:
    with pytest.warns(AdvassayWarning, match=r"attack.images=5 does not reach arms that state images themselves: C;"):
        parse_study(TINY, overrides=["attack.images=5"])
    parse_study(TINY, overrides=["attack.steps=5", "attack.arms.C.images=5"])  # reaches them: no warning


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_study_survives_being_written_and_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    study = parse_study(f"archive: in\n{text}" if "${archive}" in text else text)
    assert parse_study(study_yaml(study)) == study


scalars = st.one_of(
    st.sampled_from(["08", "1e5", "no", "on", "~", "", "1_0", "0x1f", "12:30", "2020-01-01", "<<", "=", ".5", "- a"]),
    *(st.text(max_size=30), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
)


@settings(deadline=None)  # a busy machine is no failure
@given(scalars, st.text(min_size=1, max_size=20), st.text(max_size=200))
def test_no_value_changes_by_being_written_and_read(value: str | float, column: str, title: str) -> None:
    rules = {"a": {column: {"in": [value]}}, "b": {column: {"not_in": [value]}}}
    cohort = {"source": "p", "classes": rules, "title": title}
    sources = {"p": {"kind": "folder", "path": "images"}}
    study = Study.model_validate(
        {"name": "s", "sources": sources, "cohorts": {"08": cohort, "no": cohort}, "training": {"updates": 1}}
    )
    text = study_yaml(study)
    assert parse_study(text) == study
    assert list(yaml.safe_load(text)["cohorts"]) == ["08", "no"]


def test_a_targeted_arm_is_refused_because_a_study_names_no_targets() -> None:
    with pytest.raises(ValueError, match=r"arms.T.targeted: false in a study"):
        AttackSpec(arms={"A": {}, "T": {"targeted": True}})


ARCHIVE = """
name: s
sources: {a: {kind: table, path: "${archive}/files.csv", reports: {path: "${archive}/r.csv", text: [t], id: i, key: k,
  language: en}}}
cohorts: {C: {source: a, classes: {x: {l: x}, y: {l: y}}}}
training: {updates: 1}
"""


def test_the_archive_stands_in_front_of_paths_and_is_then_forgotten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = parse_study(ARCHIVE, overrides=["archive=in/../of/hospital"])
    assert study.archive is None
    assert study.sources["a"].path == f"{tmp_path}/of/hospital/files.csv"
    assert study.sources["a"].reports.path == f"{tmp_path}/of/hospital/r.csv"
    assert "archive" not in study.model_dump()
    in_file = parse_study(f"archive: hospital\n{ARCHIVE}")
    assert in_file.sources["a"].path == "hospital/files.csv"


@pytest.mark.parametrize(
    ("text", "says"),
    [(ARCHIVE, r"archive: a folder is needed for '\$\{archive\}/files.csv', got none; give --set archive=FOLDER"),
     (f"archive: ../hospital\n{ARCHIVE}", "must stay inside the data folder"),
     (f"archive: 5\n{ARCHIVE}", "archive: .*expected a path written as text, got 5"),
     ("archive: in\n" + ARCHIVE.replace("${archive}/", ""), "archive: expected paths that start with .*, got none")],
)  # fmt: skip
def test_an_archive_that_is_missing_or_leaves_the_data_folder_is_said(text, says):
    with pytest.raises(SpecError, match=says):
        parse_study(text)


@pytest.mark.parametrize(
    ("override", "told", "correct"),
    [
        ("attack.steps=-1", "--set attack.steps=-1: attack.steps: ", "Correct --set attack.steps=…;"),
        (
            "attack.epsilons=0.1",
            "attack.epsilons: expected a list, got the single value 0.1: write [0.1]",
            "Correct --set attack.eps",
        ),
        ("attack.epsilons=[5]", 'Did you mean "5/255"?', "Correct --set attack.epsilons=…;"),
        ("training.epochs=2", "t.yaml:19 with --set training.epochs=2: training: ", "Correct --set training.epochs=…;"),
        (
            "cohorts.X-TB.positive=x",
            "positive: one of ['tuberculosis', 'norm'], got 'x'",
            "Correct --set cohorts.X-TB.",
        ),
        (
            "cohorts.H-BR.train_sizes=[2.0]",
            "shares (up to 1.0), got [2.0]",
            "Correct --set cohorts.H-BR.train_sizes=…;",
        ),
        ("attack.steps=[1", "--set attack.steps=[1: value: must be YAML", "Quote it"),
    ],
)
def test_what_came_from_the_command_line_is_to_be_corrected_there(override: str, told: str, correct: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_study(TINY, name="t.yaml", overrides=[override])
    assert told in caught.value.problem
    assert caught.value.fix.startswith(correct)


def test_a_mistake_in_the_file_and_one_beside_it_are_both_to_be_corrected() -> None:
    with pytest.raises(SpecError, match=r"Correct --set attack\.steps=… and the file;"):
        parse_study(TINY.replace("updates: 4", "updates: 0"), overrides=["attack.steps=-1"])
