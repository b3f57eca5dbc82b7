"""Progress in plain lines says when a task begins, how far it is, and when it has ended."""

from __future__ import annotations

import pytest

from advassay.cli.progress_bars import Bars, Lines, Quiet
from advassay.progress import StudyProgress, tell_study_progress


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(seconds=1000) as lines:
        lines.start("train A", 100, "updates")
        for _ in range(100):
            lines.advance("train A")
        lines.finish("train A")
    assert capsys.readouterr().err.splitlines() == ["train A: begins, 100 updates", "train A: done in 0 s"]


def test_plain_lines_tell_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(seconds=0) as lines:
        lines.start("train A", 4, "updates")
        lines.advance("train A", 2)
        lines.advance("unknown task", 2)
    assert "train A: 2 of 4 updates, 0 s left" in capsys.readouterr().err


def test_bars_follow_tasks_of_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.start("read A", None, "images")
        bars.advance("read A", 3)
        bars.finish("read A")
        bars.start("read A", 2, "images")
        bars.finish("read A")
    assert "read A" in capsys.readouterr().err


def test_the_whole_study_has_a_time_of_its_own_beside_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(seconds=0) as lines:
        tell_study_progress(lines, StudyProgress(1, 4, None, at_least=True))
        tell_study_progress(lines, StudyProgress(2, 4, 90.0, at_least=True))
        tell_study_progress(lines, StudyProgress(3, 4, 60.0, at_least=False))
        tell_study_progress(lines, StudyProgress(4, 4, 0.0, at_least=False))
    assert capsys.readouterr().err.splitlines() == [
        "whole study: 1 of 4 jobs done",
        "whole study: 2 of 4 jobs done, at least 1 min 30 s left",
        "whole study: 3 of 4 jobs done, about 1 min 0 s left",
    ]
    with Bars() as bars:
        bars.start("train A", 2, "updates")
        tell_study_progress(bars, StudyProgress(2, 4, 90.0, at_least=True))
    assert "at least 1 min 30 s" in " ".join(capsys.readouterr().err.split())
    tell_study_progress(Quiet(), StudyProgress(2, 4, 90.0, at_least=True))
    assert capsys.readouterr().err == ""
