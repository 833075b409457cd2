"""The journal of rounds: an interrupted one is found at the next start, one that has ended is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stream_app.settings import Settings
from stream_app.trainer.round_journal import RoundJournal


def test_an_interrupted_round_is_found_and_an_ended_one_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings(device="cpu", data_dir=tmp_path)
    RoundJournal(settings).begin(4)
    journal = RoundJournal(settings)  # of the next process
    assert journal.interrupted() == 4
    journal.begin(7)
    assert journal.interrupted() == 7
    journal.checkpoints.begin("a fingerprint")
    checkpoint = journal.checkpoints.next()
    assert checkpoint is not None
    checkpoint.save({"a": torch.zeros(2)}, {})
    journal.end()
    assert journal.interrupted() is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_takes_nothing_costs_the_entry_and_not_the_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trainer").write_text("a file where the folder would be")
    journal = RoundJournal(Settings(device="cpu", data_dir=tmp_path))
    journal.begin(4)
    assert "if it is interrupted, this round begins from scratch" in caplog.text


def test_an_entry_that_cannot_be_read_is_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = RoundJournal(Settings(device="cpu", data_dir=tmp_path))
    journal.begin(4)
    (path,) = tmp_path.rglob("round.json")
    path.write_bytes(b"{")
    assert journal.interrupted() is None
    assert "the interrupted round is forgotten" in caplog.text
    assert not path.exists()


def test_each_history_has_its_own_journal(tmp_path: Path) -> None:
    journals = [RoundJournal(Settings(device="cpu", data_dir=tmp_path, history=name)) for name in ("a", "b")]
    journals[0].begin(4)
    assert [journal.interrupted() for journal in journals] == [4, None]
