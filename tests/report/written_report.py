"""A small simulated study, and its report as tests read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from simulate import ARMS, Cohort

from advassay.spec.attack_spec import Arm

SMALL = (
    Cohort("X-TB", "X-ray", ("tuberculosis", "norm"), epsilon50=0.03, patients=24, lost_again=0.1),
    Cohort("H-BR", "histology", ("tumour", "<norm> & rest"), epsilon50=0.07, slope=0.5, patients=24, sizes=(40, 80)),
)
SMALL_ARMS = {
    "A": Arm(epsilons=(0.02, 0.06, 0.2), steps=8),
    "C": ARMS["C"].model_copy(update={"epsilons": (0.001, 0.005, 0.02), "steps": 8}),
}


@dataclass(frozen=True)
class Report:
    """A written report."""

    store: Path
    page: Path

    @property
    def html(self) -> str:
        return self.page.read_text(encoding="utf-8")

    @property
    def folder(self) -> Path:
        return self.page.parent

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_csv(self.folder / "tables" / f"{name}.csv", infer_schema_length=None)
