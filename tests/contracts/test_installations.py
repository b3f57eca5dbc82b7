"""What each installation can do: the base alone, and what is said where an extra is missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import advassay
from advassay.cli.error_handling import EXTRA_OF_VERB
from advassay.cli.program import VERBS
from advassay.errors import MissingLibraryError, SpecError
from advassay.optional_libraries import EXTRAS, extra_of, missing_library, optional_imports

ROOT = Path(__file__).parents[2]
MODULE_OF = {
    "openslide-bin": None, "openslide-python": "openslide", "opencv-python-headless": "cv2", "python-gdcm": "gdcm",
    "pylibjpeg-openjpeg": "openjpeg", "pylibjpeg-rle": None,
}  # fmt: skip
"""Distribution → the module that it installs, where it is named otherwise; None: it has none of its own."""


def declared() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def names(requirements: list[str]) -> set[str]:
    """Distribution names, without those of other extras of ours."""
    found = {re.split(r"[\s<>=!~;\[]", text, maxsplit=1)[0] for text in requirements}
    return found - {"advassay"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_the_modules_that_errors_name_it_for(extra: str) -> None:
    modules = {MODULE_OF.get(name, name) for name in names(declared()["optional-dependencies"][extra])} - {None}
    shared = {"pydicom"} if extra == "slides" else set()  # DICOM slides are read with it; errors name the extra dicom
    assert modules - shared == set(EXTRAS[extra][1])


def test_all_has_every_extra_but_that_of_developers() -> None:
    (text,) = declared()["optional-dependencies"]["all"]
    assert set(text.removeprefix("advassay[").removesuffix("]").split(",")) == set(EXTRAS)
    assert declared()["optional-dependencies"].keys() - EXTRAS.keys() == {"all", "dev"}


def test_the_base_has_no_library_of_an_extra() -> None:
    base = {MODULE_OF.get(name, name.replace("-", "_")) for name in names(declared()["dependencies"])}
    assert not base & {module for _, modules in EXTRAS.values() for module in modules}
    assert not base & {"pandas", "statsmodels", "scikit_learn", "scikit_image"}


def test_the_base_reads_analyses_and_reports_with_everything_else_blocked(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("base_verbs.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "0 failed; optional libraries imported: []" in done.stdout.splitlines()[-1]
    assert (tmp_path / "report.html").stat().st_size > 10_000


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def in_a_process_without(blocked: set[str], code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED.format(blocked=blocked) + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("blocked", "words", "extra"),
    [
        ({"torch"}, ["run", "studies/demo.yaml", "--store", "STORE"], "run"),
        ({"cv2", "torch"}, ["plan", "studies/demo.yaml", "--store", "STORE"], "run"),
        ({"cv2", "openslide"}, ["tiles", "studies", "-o", "STORE"], "slides"),
        ({"pydicom"}, ["phantoms", "--archive", "STORE"], "dicom"),
        ({"torch", "cv2"}, ["evaluate", "m.safetensors", "studies", "--store", "STORE"], "run"),
    ],
)
def test_a_verb_without_its_extra_names_the_command_that_installs_it(
    blocked: set[str], words: list[str], extra: str, tmp_path: Path
) -> None:
    words = [
        str(tmp_path / "store") if word == "STORE" else word.replace("studies", f"{ROOT}/studies") for word in words
    ]
    code = f"sys.argv = ['advassay', *{words!r}]\nfrom advassay.cli import main\nmain()"
    done = in_a_process_without(blocked, code)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"pip install 'advassay[{extra}]'"
    assert "Traceback" not in done.stderr


def test_a_public_name_without_its_extra_is_an_error_of_our_tree() -> None:
    code = """
import advassay
try:
    advassay.Classifier
except advassay.errors.SpecError as error:
    print(type(error).__name__, "|", error.fix)
"""
    done = in_a_process_without({"torch"}, "import advassay.errors" + code)
    assert done.stdout.strip() == "MissingLibraryError | pip install 'advassay[run]'", done.stderr


def test_a_missing_library_is_an_import_error_and_one_of_ours() -> None:
    with (
        pytest.raises(MissingLibraryError, match=re.escape("pip install 'advassay[keras]'")) as caught,
        optional_imports(),
    ):
        raise ModuleNotFoundError("No module named 'keras'", name="keras.models")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, SpecError)


def test_a_library_that_no_extra_installs_and_one_that_is_broken_stay_what_they_are() -> None:
    assert missing_library(ModuleNotFoundError("No module named 'numpy'", name="numpy")) is None
    assert missing_library(ImportError("libGL.so.1: cannot open", name="cv2")) is None
    with pytest.raises(ModuleNotFoundError, match="numpy"), optional_imports():
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")


def test_verbs_that_prefer_an_extra_exist() -> None:
    assert EXTRA_OF_VERB.keys() <= {verb.__name__ for verb in VERBS}
    assert set(EXTRA_OF_VERB.values()) <= EXTRAS.keys()
    assert extra_of("cv2", EXTRA_OF_VERB["tiles"]) == "slides"


def test_the_version_is_one() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert f"version: {advassay.__version__}\n" in citation
    assert newest[1] == advassay.__version__
