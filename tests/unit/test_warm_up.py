"""The step that a worker makes before its first batch, to know that its device works."""

from __future__ import annotations

from model.fold import Fold
from model.serving import serve
from stream_app.worker import step_once
from tests.unit.builders import CPU, make_states, make_version


def test_a_worker_that_starts_with_a_champion_can_step() -> None:
    fold = Fold(make_states(), rules_share=1.0)
    fold.serving = serve(make_version(), CPU)
    step_once(fold)
    assert len(fold.states) == 1
