"""The line that shows progress, on a terminal and elsewhere."""

from __future__ import annotations

import pytest

from stream_app.offline.progress import ProgressLine


def test_progress_rewrites_a_terminals_line_and_is_rare_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    for terminal in (True, False):
        progress = ProgressLine(clock=lambda: now[0], terminal=terminal)
        for second in range(40):
            now[0] = second
            progress("training", str(second))
        progress("scoring")
        progress.close()
    on_terminal, _, elsewhere = capsys.readouterr().err.partition("\rscoring\r")  # click leaves out the colours
    assert on_terminal.count("\r") == 40
    assert "\n" not in on_terminal
    assert elsewhere.splitlines() == ["training: 0", "training: 15", "training: 30", "scoring"]
