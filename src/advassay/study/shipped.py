"""The attack arms that every shipped and starter study has."""

from __future__ import annotations

from typing import Any

SHIPPED_ARMS: dict[str, dict[str, Any]] = {
    "A": {"update": "projected-sign", "loss": "cross-entropy", "step_sizes": [0.01]},
    "B": {
        "update": "projected-gradient",
        "loss": "probability",
        "step_sizes": [100],
        "epsilons": [0.02, 0.10, 0.20],
    },
    "C": {
        "update": "projected-sign",
        "loss": "margin",
        "step_sizes": ["epsilon/4"],
        "epsilons": [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02],
    },
}
"""A: the main curves. B: the formula of the reference study (Kovalev & Voynov 2019, formula 1), with a gain that moves
pixels. C: a loss that does not saturate and steps fine enough for the small ε where undefended networks fall."""

DECIDING_ARM = "C"
"""The one whose amplitudes span the range in which success rises: analysis.arm of shipped and starter studies."""
