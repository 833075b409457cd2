"""A round of training: what the challenger starts from, what it reads, and how an interrupted one resumes."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.disk_log import DiskLog, window_in_memory, window_of_chunks
from model.data.events import Actions, Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.errors import TooLittleData
from model.evaluation.gate import GateConfig, judge
from model.fusion.combiner import CombinerConfig
from model.network.backbones import BackboneName
from model.rounds import training_round as rounds
from model.rounds.training_round import Round, RoundConfig, _starting_point, train_round
from model.training.checkpoints import Checkpoints
from model.training.fit_run import Progress
from model.versions.version import Version
from tests.unit.builders.basics import BACKBONES, CPU
from tests.unit.builders.rounds import CONFIG, as_version, born_at_the_end, circle


def run(config: RoundConfig, champion: Version | None = None) -> tuple[Round, int]:
    """A round, and how many steps its fitting took."""
    steps: Counter[str] = Counter()

    def count(stage: str, _: Progress) -> None:
        steps[stage] += 1

    return train_round(
        window_in_memory(circle()), champion, config, device=CPU, clock=time.thread_time, progress=count
    ), steps["fitting"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_round_trains_the_backbone_that_is_asked_for_and_goes_on_from_its_own_kind(backbone: BackboneName) -> None:
    config = replace(CONFIG, backbone=backbone)
    first, cold = run(config)
    assert first.model.network.config.backbone == backbone
    second, warm = run(config, as_version(first))
    assert second.model.network.config.backbone == backbone
    assert warm < cold


@pytest.mark.parametrize("change", [{"backbone": "linear"}, {"hidden": 24}])
def test_a_network_of_another_kind_than_the_champion_begins_from_scratch(change: dict[str, object]) -> None:
    champion, cold = run(CONFIG)
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    challenger, steps = run(config, as_version(champion))
    assert (challenger.model.network.config.backbone, challenger.model.network.config.hidden) == (
        config.backbone,
        config.hidden,
    )
    assert steps == cold  # all of them, not half as for weights that know most of it already
    assert challenger.champion is not None


def test_a_round_on_a_champion_learns_from_no_more_than_it_may() -> None:
    first, _ = run(CONFIG)
    champion = replace(as_version(first), facts={"trained_until": first.trained_until // 2})
    config, known = replace(CONFIG, most_actions=200), sequences_of(circle())
    assert 100 <= len(_starting_point(champion, config).sample(known)) <= 200
    assert _starting_point(None, config).sample(known) is known
    assert _starting_point(champion, replace(config, hidden=24)).sample(known) is known


def always_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every challenger win."""
    monkeypatch.setattr(rounds, "judge", lambda *arguments: replace(judge(*arguments), reason="better"))


@pytest.mark.parametrize("warm", [False, True])
def test_a_challenger_does_not_know_the_items_that_appear_in_what_it_is_judged_by(warm: bool) -> None:
    """In the slice all targets are on items that were born in it: only what learns on the way can foresee them."""
    champion = as_version(run(CONFIG)[0]) if warm else None
    actions = born_at_the_end(circle(users=20, length=60), share=CONFIG.holdout)
    result = train_round(window_in_memory(actions), champion, CONFIG, device=CPU, clock=time.thread_time)
    assert result.challenger.targets > 100
    assert result.challenger.network.recall[20] == 0.0
    for ranking in (result.challenger.served, result.challenger.rules):
        assert 0.5 < ranking.recall[20] < 1
    born = [item for item in result.model.vocabulary.items if item.startswith("born")]
    assert bool(born) == result.verdict.promoted, "what is new is taken in after the verdict"
    assert {part.name for part in result.report.parts if part.kind == "item"} == {"unseen"}


def test_a_challenger_that_has_won_takes_in_the_items_that_appeared(monkeypatch: pytest.MonkeyPatch) -> None:
    always_better(monkeypatch)
    champion = as_version(run(CONFIG)[0])
    actions = born_at_the_end(circle(users=20, length=60), share=CONFIG.holdout)
    actions = replace(actions, categories=np.arange(len(actions), dtype=np.uint16) % 5 + 1)
    result = train_round(window_in_memory(actions), champion, CONFIG, device=CPU, clock=time.thread_time)
    model, known = result.model, len(champion.vocabulary)
    assert model.vocabulary.items[:known] == champion.vocabulary.items, "rows that were there stay where they are"
    assert set(model.vocabulary.items[known:]) == {"born 0", "born 1", "born 2"}
    assert model.network.config.items == len(model.vocabulary) == len(model.fusion.statistics)
    assert (model.network.item_attributes[-3:, 0] > 0).all()
    statistics = model.fusion.statistics
    assert set(statistics.rows_of(model.vocabulary.item_keys[known:])) <= set(statistics.arrays.popular.everywhere)
    assert not model.network.training


class ProcessEnd(Exception):
    """Stands for the end of the process."""


def log_of(actions: int, *, users: int = 20, items: int = 8, step_ms: int = 1000) -> Actions:
    """Views, of each user in turn, of one item after the other."""
    events = [Event(user_id=str(k % users), type="view", item_id=f"i{k % items}") for k in range(actions)]
    return actions_of(events, [step_ms * k for k in range(actions)])


@pytest.mark.parametrize(
    ("actions", "why"),
    [
        (log_of(0), "the log has no events"),
        (log_of(900, items=1), "on 1 known items"),
        (log_of(60, users=1), "a verdict needs 50"),
        (log_of(900, users=900), "only 0 held-out actions on items follow another of their user"),
        (log_of(900, step_ms=0), "the events of the log are of one or no known time"),
    ],
    ids=["no events", "one item", "one short user", "one action each", "one time"],
)
def test_a_log_that_nothing_can_be_learned_from_is_too_little(actions: Actions, why: str) -> None:
    with pytest.raises(TooLittleData, match=why):
        train_round(window_in_memory(actions), None, CONFIG, device=CPU, clock=time.thread_time)


def test_a_single_user_can_be_learned_from_and_proves_nothing() -> None:
    result = train_round(window_in_memory(log_of(1500, users=1)), None, CONFIG, device=CPU, clock=time.thread_time)
    assert result.verdict.reason == "no_better"
    assert all(map(math.isfinite, result.metrics().values()))


ANY_WINS = GateConfig(ahead=-1.0, recall_margin=1.0, mrr_margin=1.0)
LONG = born_at_the_end(circle(length=40))
SHORT = replace(CONFIG.fitting, combiner=CombinerConfig(examples=2000))


def round_in(
    folder: Path | None,
    champion: Version | None = None,
    *,
    actions: Actions = LONG,
    config: RoundConfig = CONFIG,
    tell: Callable[[str, Progress], None],
) -> Round:
    """A round with checkpoints in a folder."""
    return train_round(
        window_in_memory(actions),
        champion,
        config,
        device=CPU,
        clock=time.thread_time,
        progress=tell,
        checkpoints=Checkpoints(folder),
    )


def weights_of(round_: Round) -> dict[str, torch.Tensor]:
    """All that was learned: of the network, the combiner and the calibration."""
    calibration = torch.tensor([round_.model.calibration.slope, round_.model.calibration.intercept])
    combiner = {f"combiner.{name}": tensor for name, tensor in round_.model.fusion.combiner.state_dict().items()}
    return {**round_.model.network.state_dict(), **combiner, "calibration": calibration}


@pytest.mark.parametrize("warm", [False, True])
def test_a_round_that_is_interrupted_again_and_again_gives_the_weights_of_one_that_was_not(
    tmp_path: Path, warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A challenger that wins takes in the newest slice, too.
    always_better(monkeypatch)
    champion = as_version(run(CONFIG)[0]) if warm else None
    fitting, gate = replace(SHORT, from_scratch=not warm), replace(CONFIG.gate, change=1.0)
    run_in = partial(round_in, champion=champion, config=replace(CONFIG, fitting=fitting, gate=gate))
    stages: Counter[str] = Counter()

    def count(stage: str, _: Progress) -> None:
        stages[stage] += 1

    wanted = run_in(None, tell=count)
    assert wanted.verdict.promoted
    ends, again = set[tuple[str, int]](), Counter[str]()

    def end_once(stage: str, step: Progress) -> None:
        """In the middle of a stage and at its last step, before that can be saved."""
        again[stage] += 1
        if step.step in (step.steps // 2 + 1, step.steps) and (stage, step.step) not in ends:
            ends.add((stage, step.step))
            raise ProcessEnd

    result = None
    while result is None:
        with suppress(ProcessEnd):
            result = run_in(tmp_path / "fits", tell=end_once)
    assert {stage for stage, _ in ends} == stages.keys()
    assert again["fitting"] <= 3 * stages["fitting"]  # ended twice: what was done was not done again
    assert weights_of(result).keys() == weights_of(wanted).keys()
    for name, tensor in weights_of(wanted).items():
        assert torch.equal(tensor, weights_of(result)[name]), name
    assert result.model.report == wanted.model.report


def begins_at(folder: Path, actions: Actions = LONG, config: RoundConfig = CONFIG) -> tuple[str, int]:
    """The stage and the step at which a round begins; it is ended there."""
    begun = []

    def end(stage: str, step: Progress) -> None:
        begun.append((stage, step.step))
        raise ProcessEnd

    with pytest.raises(ProcessEnd):
        round_in(folder, actions=actions, config=config, tell=end)
    return begun[0]


def test_only_the_same_round_resumes_where_one_was_interrupted(tmp_path: Path) -> None:
    def end(_stage: str, step: Progress) -> None:
        if step.step > step.steps // 2 + 1:
            raise ProcessEnd

    for actions, config in ((circle(users=41, length=40), CONFIG), (LONG, replace(CONFIG, seed=2))):
        with pytest.raises(ProcessEnd):
            round_in(tmp_path, tell=end)
        stage, step = begins_at(tmp_path)
        assert stage == "fitting"
        assert step > 1
        assert begins_at(tmp_path, actions, config) == ("fitting", 1)
        assert begins_at(tmp_path) == ("fitting", 1)  # the other round has deleted its checkpoints


def test_a_round_reads_a_log_on_disk_a_few_times_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    actions, passes, read = circle(users=80, items=60), Counter[int](), DiskLog.part

    def counted(log: DiskLog, number: int) -> Sequences:
        passes[number] += 1
        return read(log, number)

    monkeypatch.setattr(DiskLog, "part", counted)
    # Any challenger wins, so that the fit to the whole log is counted, too.
    config = replace(CONFIG, gate=ANY_WINS)
    with ExitStack() as files:
        window = window_of_chunks([actions], rows=len(actions), room=800, folder=tmp_path, files=files)
        first = train_round(window, None, config, device=CPU, clock=time.thread_time)
        assert first.verdict.promoted
        # Every epoch is a pass, and the fit looks four times at what it is given; summary and all else are 22.
        assert set(passes.values()) == {first.model.report.epochs + 4 + 22}
        passes.clear()
        second = train_round(window, as_version(first), config, device=CPU, clock=time.thread_time)
        assert second.verdict.promoted
        assert set(passes.values()) == {21}, "what a network rehearses is in memory"


def test_a_round_on_a_log_in_parts_learns_as_well(tmp_path: Path) -> None:
    actions = circle(users=80, items=60)
    config = replace(CONFIG, gate=ANY_WINS)  # promoted, though the rules are right, too
    with ExitStack() as files:
        window = window_of_chunks([actions], rows=len(actions), room=800, folder=tmp_path, files=files)
        assert window.log.part_count > 1
        result = train_round(window, None, config, device=CPU, clock=time.thread_time)
        held_out_from = window.log.newest(CONFIG.holdout / 2)  # there is room for half the log
    assert result.challenger.network.recall[20] > 0.9
    described = result.report.window
    assert (described.events, described.users, described.items) == (1600, 80, 60)
    assert described.held_out_from == held_out_from
    assert result.trained_until == window.log.span[1]
