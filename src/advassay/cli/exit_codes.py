"""What each exit code of the command means: one table for the help and for the documentation."""

from __future__ import annotations

EXIT_CODES: dict[int, str] = {
    0: "Done.",
    1: "The disk is full or closed, a path cannot be used, or doctor found what will not work.",
    2: "The command, an option or the study file is wrong, or a library of an extra is not installed.",
    3: "A source cannot be read, or a cohort cannot be formed. Other cohorts were done all the same.",
    4: "A network cannot be built, trained or loaded.",
    5: "The attack would give a meaningless number: wrong images, amplitude or model.",
    6: "The store is missing, locked, damaged, or of another version.",
    7: "A figure or a page cannot be made.",
    8: "evaluate: a requirement of --require is not shown to hold.",
    9: "run --no-wait: another part of the run has to go first.",
    130: "Stopped with Ctrl-C; the same command continues.",
    143: "Stopped by SIGTERM; the same command continues.",
}
"""Exit code → meaning."""
