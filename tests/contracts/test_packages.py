"""The wheel and the source archive: what they hold, what they say of themselves, and that the wheel runs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import advassay

pytest.importorskip("hatchling", reason="needs pip install hatchling (extra dev)")

ROOT = Path(__file__).parents[2]
VERSION = advassay.__version__


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the archive, and the wheel that was built from what the archive holds."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run([*command, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(folder / f"advassay-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    subprocess.run([*command, "-t", "wheel"], cwd=folder / f"advassay-{VERSION}", check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(built / f"advassay-{VERSION}-py3-none-any.whl") as file:
        yield file


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_string(wheel.read(f"advassay-{VERSION}.dist-info/METADATA").decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {"advassay", f"advassay-{VERSION}.dist-info"}
    source = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py*") if path.suffix != ".pyc"
    }
    assert source <= set(names)
    assert {"advassay/py.typed", "advassay/_studies/demo.yaml"} <= set(names)
    assert any(name.startswith("advassay/sources/") and name.endswith(".yaml") for name in names)


def test_the_wheel_says_who_made_it_and_under_which_licence(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("advassay", VERSION)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert wheel.read(f"advassay-{VERSION}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["Author"] == "The advassay developers"
    assert f'"{metadata["Author"]}"' in (ROOT / "CITATION.cff").read_text()
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def test_every_classifier_is_one_that_indexes_know(metadata: Message) -> None:
    known = pytest.importorskip("trove_classifiers", reason="comes with hatchling").classifiers
    found = metadata.get_all("Classifier") or []
    assert found
    assert set(found) <= known


def test_the_extras_are_those_of_the_project_file(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(metadata.get_all("Provides-Extra") or []) == project["optional-dependencies"].keys()


def test_an_unpacked_wheel_runs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import advassay; print(advassay.__file__)\n"
    code += "from advassay.cli.demo import shipped_study; print(shipped_study('demo.yaml'))\n"
    code += "sys.argv = ['advassay', '--help']; from advassay.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    place, study, *text = done.stdout.splitlines()
    assert place == str(tmp_path / "advassay" / "__init__.py")
    assert study == str(tmp_path / "advassay" / "_studies" / "demo.yaml")
    assert any(line.startswith("Usage:") for line in text)


def test_the_archive_holds_what_a_test_run_needs(built: Path) -> None:
    folder = built / f"advassay-{VERSION}"
    for name in (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "constraints.txt",
        "Makefile",
        "tests",
        "studies",
    ):
        assert (folder / name).exists(), name
    assert (folder / "docs/results/demo/fig-arms.png").is_file()  # the picture of README.md
    assert not any((folder / name).exists() for name in (".ci", ".venv", "runs", "build"))


def test_indexes_accept_the_files(built: Path) -> None:
    pytest.importorskip("twine", reason="needs pip install twine")
    files = [str(path) for path in built.glob("advassay-*.*") if path.is_file()]
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
