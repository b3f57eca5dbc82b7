"""Verdicts of version 0.1.0 on studies given as a pickle on standard input; run with its `src` on PYTHONPATH.

python verdicts_of_0_1.py QUESTION < studies.pickle      # writes a JSON list of verdicts
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from types import SimpleNamespace
from typing import Any


class HeldRun:
    """A run that version 0.1.0 finds packed already."""

    def __init__(self, pack: Any) -> None:
        self.header = pack.header
        epsilons = pack.epsilons.tolist()
        self.index = SimpleNamespace(points=lambda: {("epsilon/4", e): slice(0, 0) for e in epsilons})


def main() -> None:
    from advassay.analysis.claims import amplitude, confidence, image_type, iterations, training_size

    from advassay.analysis import outcome_arrays

    warnings.simplefilter("ignore")
    question = (amplitude, image_type, iterations, confidence, training_size)[int(sys.argv[1]) - 1]
    verdicts = []
    for packs in pickle.load(sys.stdin.buffer):
        runs = [HeldRun(pack) for pack in packs]
        for run, pack in zip(runs, packs, strict=True):
            outcome_arrays._CACHE[run] = {pack.step_size: pack}
        cohorts = list(dict.fromkeys(pack.header.cohort for pack in packs))
        records = SimpleNamespace(arms=["A"], main_arm="A", cohorts=cohorts, runs=runs)
        verdicts.append(question(records).verdict)
    print(json.dumps(verdicts))


if __name__ == "__main__":
    main()
