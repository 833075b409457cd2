"""The benchmarks of quality on tiny logs: how logs are cut, what is chosen where, and the tables."""

from __future__ import annotations

import argparse
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.vocabulary import Vocabulary
from model.errors import NextactError
from model.evaluation.ranking import MISSED, Holdout, rank_all
from model.evaluation.split import Split, split_log
from tests.bench import sasrec as bench
from tests.bench.data_sets import JDATA, chosen, cut_rows, known_actions, split_of
from tests.bench.quality import COLUMNS, TUNED, markdown, rows
from tests.bench.sasrec_network import SasRec
from tests.bench.session_knn import grid, pick
from tests.bench.trainer_quality import models
from tests.unit.builders.evaluations import made_report, quality
from tests.unit.builders.rounds import CONFIG, circle
from tests.unit.builders.sequences import examples, sequences

HEADER = "timestamp,user_id,item_id,type,session_id,brand,category\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A JData whose rows are of three users in turn, each on a ring of items; every tenth row is a comment."""
    (tmp_path / "jdata").mkdir()
    rows = [
        f"2018-03-01 00:{n // 60:02}:{n % 60:02},u{n % 3},i{n // 3 % 7},{'comment' if n % 10 == 9 else 'click'},1,1,1\n"
        for n in range(200)
    ]
    with gzip.open(tmp_path / "jdata" / "train.csv.gz", "wt") as lines:
        lines.write(HEADER + "".join(rows))
    return tmp_path


def options(folder: Path, *names: str) -> argparse.Namespace:
    return argparse.Namespace(data=folder, only=list(names) or None, seed=1, threads=1, device="cpu")


def test_a_slice_has_the_rows_of_its_share_and_both_parts_have_the_header(folder: Path, tmp_path: Path) -> None:
    (known,), (later,) = cut_rows(folder / "jdata" / "train.csv.gz", 0.5, 0.65, tmp_path / "slice")
    known_lines, later_lines = Path(known).read_text().splitlines(), Path(later).read_text().splitlines()
    assert (known_lines[0], later_lines[0]) == (HEADER.strip(), HEADER.strip())
    assert (len(known_lines), len(later_lines)) == (101, 31)
    assert later_lines[1].startswith("2018-03-01 00:01:40")  # the hundredth second


def test_a_split_foresees_the_slice_from_what_lies_before_it(folder: Path) -> None:
    with chosen(options(folder, "jdata-65"), ()) as sources:
        split, known = split_of(sources["jdata-65"]), known_actions(sources["jdata-65"])
        assert sources["jdata-65"].log_options == JDATA
    assert (len(split.known), len(known)) == (117, 117)  # 130 rows, of which a tenth are comments
    assert len(split.holdout) == 27
    assert known.times.max() < split.cut <= split.holdout.sequences.times[split.holdout.positions].min()
    assert not Path(sources["jdata-65"].train[0]).exists()


def test_names_that_are_none_and_logs_that_are_not_there_are_told(folder: Path) -> None:
    with pytest.raises(NextactError, match="no data set is called movies"), chosen(options(folder, "movies"), ()):
        pass
    with pytest.raises(NextactError, match="--data"), chosen(options(folder), ("yoochoose",)):
        pass


def test_the_settings_of_v_sknn_are_chosen_without_the_test(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chosen(options(folder, "jdata-80"), ()) as sources:
        split = split_of(sources["jdata-80"])
    other = replace(split, holdout=Holdout(split.holdout.sequences, split.holdout.positions[:1]))
    assert pick(split) == pick(other)
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(grid(several_sessions=False))
    assert len(set(grid(several_sessions=True))) == 2 * len(grid(several_sessions=False))


def test_a_step_of_sasrec_sees_itself_and_what_was_before() -> None:
    torch.manual_seed(1)
    network = SasRec(5, dropout=0.0).eval()
    whole, cut = network(torch.tensor([[1, 2, 3, 4]])), network(torch.tensor([[1, 2, 5, 0]]))
    torch.testing.assert_close(whole[:, :2], cut[:, :2])
    assert not torch.allclose(whole[:, 2], cut[:, 2])
    assert network.item_vectors().shape == (5, network.width)


def test_sasrec_learns_a_ring_and_ranks_what_it_knows_only() -> None:
    log = sequences(*("abcdefg"[n:] + "abcdefg"[:n] for n in range(7) for _ in range(6)))
    vocabulary = Vocabulary(list("abcdefg"))
    epochs = list[int]()

    def count(_network: SasRec) -> bool:
        epochs.append(1)
        return len(epochs) < 40

    network = bench.train(log, vocabulary, bench.Recipe(0.1, 60), seed=1, after_epoch=count)
    assert len(epochs) == 40
    found = rank_all(bench.SasRecRanker(network, vocabulary), examples("abc", "fga", "az"))
    assert found.ranks.tolist() == [1, 1, MISSED]
    assert (found.top[:, 0] == examples("abc", "fga", "ab").item_keys).all()


def test_the_epochs_of_sasrec_are_those_of_the_held_out_part(monkeypatch: pytest.MonkeyPatch) -> None:
    known = sequences(*("abcdefg"[n:] + "abcdefg"[:n] for n in range(7) for _ in range(6)))
    split = Split(known, list("abcdefg"), examples("za"), int(known.times[-1]) + 1, timed=True)
    monkeypatch.setattr(bench, "MOST_EPOCHS", 3)
    recipe = bench.pick(split, Vocabulary(split.items), seed=1)
    assert recipe.dropout in bench.DROPOUTS
    assert 1 <= recipe.epochs <= 3


def test_the_table_has_a_row_for_all_targets_and_for_each_part() -> None:
    parts = {part: {name: quality(0.5, 20) for name in COLUMNS} for part in ("touched before", "new to the user")}
    report = replace(
        made_report(), whole={name: quality(0.25) for name in COLUMNS if name != TUNED}, slices={"repeat": parts}
    )
    table = markdown({"jdata": rows(report, dict.fromkeys(("all", *parts), quality(0.1)))}).splitlines()
    assert np.unique([line.count("|") for line in table]).size == 1
    assert (
        table[2]
        == "| jdata | 40 | 25.0 % | 25.00 / 25.00 | 25.00 / 25.00 | 10.00 / 10.00 | "
        + " | ".join(["25.00 / 25.00"] * 2)
        + " |"
    )
    assert [line.split("|")[1].strip() for line in table[2:]] == ["jdata", "… touched before", "… new to the user"]


def test_what_evaluate_and_a_trainer_train_is_scored_on_the_same_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.rounds.experiment.FitModelConfig", lambda **_: CONFIG.fitting)
    actions = circle()
    cut = int(actions.times[int(0.9 * len(actions))])
    known, split = actions.take(np.flatnonzero(actions.times < cut)), split_log([actions], cut)
    found = dict(models(split, known, CONFIG))
    assert list(found) == ["evaluate", "first round", "first of two rounds", "second of two rounds"]
    assert all(figures["recall_at_20"] == 100.0 for figures in found.values())  # of eight items
    assert found["evaluate"]["mrr_at_20"] > 90
    assert all(figures["promoted"] in (True, False) for label, figures in found.items() if label != "evaluate")
