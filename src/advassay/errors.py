"""Every error advassay raises on purpose, as one tree.

    AdvassayError
    ├── SpecError             a study file or an argument is wrong              exit 2
    │   └── MissingLibraryError  a library that an extra installs is not here   exit 2
    ├── ExtensionError        a registered part is incomplete or named twice    exit 2
    ├── SourceError           a source as a whole cannot be read                exit 3
    ├── CohortError           a cohort cannot be formed or prepared             exit 3
    ├── TrainingError         a network cannot be built, trained or loaded      exit 4
    ├── AttackError           an attack would give a meaningless number         exit 5
    │   ├── InputError        images out of range, labels that do not fit
    │   ├── EpsilonError      an amplitude in the wrong unit
    │   └── ClassifierError   NaN logits, probabilities, random output, …
    ├── StoreError            a store is missing, locked or inconsistent        exit 6
    │   ├── FormatError       written in a format this version does not read
    │   └── DamagedError      a file of the store is empty, cut off or altered
    ├── ReportError           a figure or page cannot be made                   exit 7
    └── WaitingError          another part of a divided run has to go first     exit 9

One bad image is never an error: it is a row with a reason. An error is for what makes the whole step
meaningless. Each message names the argument, the rule, the value seen, and what to do next.
"""

from __future__ import annotations

from typing import Any


class AdvassayError(Exception):
    """Base of the tree. `problem` says what is wrong, with the value seen; `fix` what to do next."""

    exit_code = 1

    def __init__(self, problem: str, fix: str = "") -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(f"{problem} {fix}".strip())


class SpecError(AdvassayError):
    """A study file or an argument is wrong. Exit code 2."""

    exit_code = 2


class MissingLibraryError(SpecError, ImportError):
    """The work needs a library that an extra of the distribution installs; `fix` is the command."""


class ExtensionError(AdvassayError):
    """A registered part is incomplete or named twice. Exit code 2."""

    exit_code = 2


class SourceError(AdvassayError):
    """A source as a whole cannot be read. Exit code 3."""

    exit_code = 3


class CohortError(AdvassayError):
    """A cohort cannot be formed or prepared. Exit code 3."""

    exit_code = 3
    flow: tuple[Any, ...] = ()
    """Rows of the cohort's flow chart up to where it could not be formed (flow_chart.FlowRow); empty where there are
    none."""


class TrainingError(AdvassayError):
    """A network cannot be built, trained or loaded. Exit code 4."""

    exit_code = 4


class AttackError(AdvassayError):
    """An attack would give a meaningless number. Exit code 5."""

    exit_code = 5


class InputError(AttackError):
    """Images are out of range, or labels do not fit them. Exit code 5."""


class EpsilonError(AttackError):
    """An amplitude is in the wrong unit. Exit code 5."""


class ClassifierError(AttackError):
    """A network gives NaN, probabilities or random output. Exit code 5."""


class StoreError(AdvassayError):
    """A store is missing, locked or inconsistent. Exit code 6."""

    exit_code = 6


class FormatError(StoreError):
    """A store is written in a format that this version does not read. Exit code 6."""


class DamagedError(StoreError):
    """A file of the store is empty, cut off or altered. Exit code 6."""


class ReportError(AdvassayError):
    """A figure or page cannot be made. Exit code 7."""

    exit_code = 7


class WaitingError(AdvassayError):
    """Another part of a divided run has to go first. Exit code 9."""

    exit_code = 9  # 8: `evaluate --require` is not met


class AdvassayWarning(UserWarning):
    """A choice that is allowed by name but weakens the evidence (it also enters the record)."""


class AttackWarning(AdvassayWarning):
    """Something about a network or an attack that is allowed but doubtful: a flag's name, cause and fix."""
