"""Names that would collide or not fit as file names: refused before any work, unless they are already in the store."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from advassay.errors import SpecError, StoreError
from advassay.records import attack_rules
from advassay.spec.attack_components import LOSSES, UPDATE_RULES
from advassay.spec.study_spec import AttackSpec, Study
from advassay.store_layout import PREPARATION, Store, disk_fault

MOST_BYTES = 100
"""Of a name: file systems hold 255 bytes, and names of files are made of several."""
MOST_STORE_BYTES = 180
"""Of the store's own name: the private table beside it bears it with an ending, a longer one while it is written."""


def check_names(study: Study, store: Store) -> None:
    """Raise SpecError for names of the study, its cohorts, sources, arms and classes that cannot be told apart on every
    file system, are too long, or look like paths. A cohort that the store has already prepared keeps its names.
    """
    _check_each("name", [study.name])
    _check_each("sources", study.sources)
    _check_each("cohorts", study.cohorts)
    _check_each("attack.arms", study.attack.arms)
    for name, cohort in study.cohorts.items():
        if not (store.cohort(name) / PREPARATION).exists():
            _check_each(f"cohorts.{name}.classes", cohort.classes)


def check_arms(attack: AttackSpec) -> None:
    """Raise SpecError where two arms differ only in what is an axis of one run: ε, step sizes, images."""
    seen: dict[str, str] = {}
    for name in attack.arms:
        rules = repr(sorted(attack_rules(attack.arm(name)).items()))
        if rules in seen:
            raise SpecError(
                f"attack.arms: {seen[rules]} and {name} differ only in epsilons, step_sizes, images: that is one run.",
                f"Put both into arm {seen[rules]} by listing all epsilons and step_sizes there.",
            )
        seen[rules] = name


def check_classes(study: Study) -> None:
    """Raise SpecError for an arm whose loss or update rule needs more classes than a cohort has (dlr: three)."""
    for name in study.attack.arms:
        arm = study.attack.arm(name)
        needs = {
            f"loss {arm.loss}": LOSSES.get(arm.loss).minimum_classes[0],
            f"update {arm.update}": UPDATE_RULES.get(arm.update).least_classes,
        }
        for part, least in needs.items():
            few = [cohort for cohort, spec in study.cohorts.items() if len(spec.classes) < least]
            if few:
                raise SpecError(
                    f"attack.arms.{name}: {part} needs {least} classes or more, fewer in {', '.join(few)}.",
                    "Choose another loss or update (list them: `advassay schema`), or leave these cohorts out.",
                )


def _check_each(field: str, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if fault := _fault(name):
            raise SpecError(f"{field}: {fault}, got {_shown(name)}.", "Choose another name.")
        key = _folded(name)
        if key in seen:
            raise SpecError(
                f"{field}: expected names that differ by more than case, got {seen[key]!r} and {name!r}.",
                "Many file systems, and readers, cannot tell them apart: choose another name for one.",
            )
        seen[key] = name


def _fault(name: str) -> str:
    """The rule that a name breaks; "" where it breaks none."""
    if not name.strip() or name != name.strip():
        return "a name is not empty and does not begin or end with a space"
    if len(name.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        return f"a name has at most {MOST_BYTES} bytes"
    if any(sign in name for sign in "/\\") or name.startswith((".", "~")):
        return "a name is no path: no / or \\, and no . or ~ in front"
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name):
        return "a name has no control characters"
    return ""


def _shown(name: str) -> str:
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(name.encode('utf-8', 'surrogatepass'))} bytes)"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def store_at(path: Path) -> Store:
    """The store at a path. Raises StoreError where none can be: below a file, or under a name that does not fit."""
    whole = Path(os.path.abspath(path))  # "" and ".." are no names for the private table beside the store
    path = path if path.name not in ("", "..") else whole
    size = len(os.fsencode(whole.name))
    if not whole.name or size > MOST_STORE_BYTES:
        raise StoreError(
            f"--store: expected a folder with a name of at most {MOST_STORE_BYTES} bytes, got {size} bytes.",
            "Use another --store.",
        )
    try:
        ground = next(folder for folder in (whole, *whole.parents) if folder.exists())
        if not ground.is_dir():
            what = "the file" if ground == whole else "a place below the file"
            raise StoreError(f"--store: expected a folder, got {what} {ground}.", "Use another --store.")
        twins = [] if whole.exists() or ground != whole.parent else _twins(whole)
    except OSError as error:
        raise StoreError(
            f"--store: no folder can be there ({error.strerror}), got {_shown(str(path))}.", "Use another --store."
        ) from None
    if twins:
        raise StoreError(
            f"--store: {twins[0]} is there, and its name differs from {whole.name} by case alone.",
            "Many file systems cannot tell them apart: use that one, or another --store.",
        )
    return Store(path)


def check_place(store: Store) -> None:
    """Raise StoreError where the store's folder can be neither written nor made; nothing is left behind."""
    ground = next(folder for folder in (store.root.absolute(), *store.root.absolute().parents) if folder.exists())
    try:
        tempfile.TemporaryDirectory(dir=ground, prefix=".advassay-").cleanup()
    except OSError as error:
        if disk_fault(error) is not None:
            raise
        raise StoreError(
            f"--store: {store.root} cannot be made or written ({error.strerror}).", "Use another --store."
        ) from None


def _twins(path: Path) -> list[Path]:
    """Stores beside `path` whose names differ from its own by case alone."""
    folded = _folded(path.name)
    beside = [entry for entry in path.parent.iterdir() if _folded(entry.name) == folded and entry.name != path.name]
    return [entry for entry in beside if Store(entry).study.exists()]
