"""A model fitted for an evaluation, its quality by epoch, and the baselines beside it."""

from __future__ import annotations

import torch

from model.data.events import Actions
from model.evaluation.baselines import ItemIndex
from model.evaluation.ranking import rank_all, ranking
from model.evaluation.split import Split, split_log
from model.rounds.experiment import BASELINES, fit_on_split, quality_by_epoch
from model.training.fit_run import Progress
from tests.unit.builders.basics import CPU
from tests.unit.builders.rounds import born_at_the_end, circle

ACTIONS: Actions = circle(users=20, length=20, items=6)


def split() -> Split:
    return split_log([ACTIONS], int(ACTIONS.times[-80]))


def test_a_model_learns_the_items_of_training_and_tells_its_stages() -> None:
    stages: dict[str, int] = {}

    def tell(stage: str, progress: Progress) -> None:
        stages[stage] = progress.step

    model = fit_on_split(split(), hidden=8, seed=1, device=CPU, tell=tell)
    assert sorted(model.vocabulary.items) == [f"i{n}" for n in range(6)]
    assert model.network.config.hidden == 8
    assert model.report.steps == stages["fitting"]
    again = fit_on_split(split(), hidden=8, seed=1, device=CPU, tell=tell)
    assert torch.equal(model.network.items.weight, again.network.items.weight)


def test_there_is_a_ranking_after_every_epoch_and_they_get_better() -> None:
    steps: list[Progress] = []
    rankings = quality_by_epoch(split(), hidden=8, seed=1, device=CPU, progress=steps.append)
    assert len(rankings) == 20  # of a small log
    assert rankings[-1].mrr[20] > rankings[0].mrr[20]
    assert steps[-1].step == steps[-1].steps == len(steps)


def test_after_an_epoch_no_item_is_known_that_appeared_in_what_is_measured() -> None:
    actions = born_at_the_end(ACTIONS, share=(80 + 32) / len(ACTIONS))  # of what is known, the newest tenth
    rankings = quality_by_epoch(
        split_log([actions], int(actions.times[-80])), hidden=8, seed=1, device=CPU, progress=lambda _: None
    )
    assert max(ranking.recall[20] for ranking in rankings) == 0.0


def test_every_baseline_ranks_what_was_held_out() -> None:
    known, holdout = split().known, split().holdout
    items = ItemIndex(known)
    recalls = {
        name: ranking(rank_all(make(known, items), holdout).ranks).recall[20] for name, make in BASELINES.items()
    }
    assert list(recalls) == ["popularity", "recent_popularity", "own_items", "transitions", "rules", "v_sknn"]
    assert recalls["transitions"] == 1.0, "each item has one that follows"
