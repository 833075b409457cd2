"""One round of training: from a log and the champion to a challenger and a verdict on it.

The challenger is judged on the newest slice of time, which neither it nor the champion has seen, and learns from that
slice too once it has won.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from model.backbones import BackboneName
from model.checkpoint import Version
from model.data import Sequences, frequent_items, sequences_of
from model.errors import TooLittleData
from model.evaluate import Evaluation, evaluate, learned_rules
from model.events import Actions
from model.evidence import evidence_of
from model.fusion import Fusion
from model.learn import LearnConfig, Model, learn, take_in
from model.network import Network, NetworkConfig
from model.purchases import fit_purchases
from model.train import Progress, TrainConfig, cold_start, warm_start
from model.vocabulary import Vocabulary

LEAST_TARGETS = 50  # held-out next items that a verdict needs


@dataclass(frozen=True, slots=True)
class RoundConfig:
    """How to run a round."""

    hidden: int = 128
    backbone: BackboneName = "gru"
    holdout: float = 0.1  # newest share of the actions
    # Rounds are many, and the first one is waited for: what is new is taken in by a pass, not by learning all anew.
    learn: LearnConfig = field(default_factory=lambda: LearnConfig(anew=False))
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Round:
    """A challenger and what was found about it."""

    model: Model
    challenger: Evaluation
    champion: Evaluation | None
    promoted: bool
    verdict: str  # a sentence with the figures
    trained_until: int  # time of the newest action, ms

    def metrics(self) -> dict[str, float]:
        """The challenger's numbers, and the champion's Recall@20 on the same targets."""
        found = self.challenger.metrics()
        if self.champion is not None:
            found["champion_recall@20"] = self.champion.served.recall[20]
        return found


def train_round(
    actions: Actions,
    champion: Version | None,
    config: RoundConfig,
    *,
    device: torch.device,
    progress: Callable[[str, Progress], None] = lambda _stage, _progress: None,
) -> Round:
    """Runs a round on a log in order per user; `progress` is told the stage and may raise to end it.

    Raises `TooLittleData` when there is not enough to learn or to judge.
    """
    sequences = sequences_of(actions)
    cut = _cut(sequences, champion, config.holdout)
    known = sequences.before(cut)
    vocabulary = (champion.vocabulary if champion else Vocabulary([])).grown(frequent_items(actions))
    start, learning = _start(champion, vocabulary, config)
    model = learn(known, vocabulary, start, learning, seed=config.seed, device=device, tell=progress)
    rules = learned_rules(known)
    score = partial(evaluate, rules=rules, sequences=sequences, cut=cut, device=device)
    challenger = score(model.network, vocabulary, model.fusion)
    incumbent = score(champion.network.to(device), champion.vocabulary, champion.fusion) if champion else None
    promoted, verdict = judge(challenger, incumbent)
    if promoted:
        take_in(
            model.network, vocabulary, sequences, learning.train, seed=config.seed + 1, device=device, tell=progress
        )
        calibration = fit_purchases(model.network.purchase, vocabulary, sequences, seed=config.seed)
        fusion = Fusion(evidence_of(sequences, vocabulary), model.fusion.combiner)
        model = replace(model, fusion=fusion, calibration=calibration)
    return Round(model, challenger, incumbent, promoted, verdict, int(sequences.times.max()))


def judge(challenger: Evaluation, champion: Evaluation | None) -> tuple[bool, str]:
    """Whether the challenger is promoted, and why: Recall@20 above the champion's or, for a first one, popularity's."""
    reached = challenger.served.recall[20]
    rival, name = (
        (champion.served.recall[20], "the champion's")
        if champion
        else (challenger.popularity.recall[20], "popularity's")
    )
    better = reached > rival
    figures = f"Recall@20 {reached:.4f} against {name} {rival:.4f} on {challenger.targets} held-out targets"
    return better, f"{'promoted' if better else 'rejected'}: {figures}"


def _cut(sequences: Sequences, champion: Version | None, holdout: float) -> int:
    """From when on actions are held out: the newest share, and nothing that the champion has learned from."""
    if not len(sequences):
        raise TooLittleData("the log has no events: collect some first")
    newest = sequences.newest(holdout)
    seen = int(champion.facts.get("trained_until", 0)) + 1 if champion else 0
    for cut in (max(newest, seen), newest):
        if _targets(sequences, cut) >= LEAST_TARGETS:
            return cut
    raise TooLittleData(
        f"only {_targets(sequences, newest)} held-out events follow another of their user; "
        f"a verdict needs {LEAST_TARGETS}: collect more events"
    )


def _targets(sequences: Sequences, cut: int) -> int:
    return int((sequences.has_next & (np.roll(sequences.times, -1) >= cut)).sum())


def _start(
    champion: Version | None, vocabulary: Vocabulary, config: RoundConfig
) -> tuple[Callable[[], Network], LearnConfig]:
    """The champion's network where it is of the kind that is asked for, else a new one; and how to learn from there."""
    wanted = NetworkConfig(items=len(vocabulary), hidden=config.hidden, backbone=config.backbone)
    if champion is not None and _same_kind(champion.network.config, wanted):
        goes_on = replace(config.learn, train=_warm(config.learn.train))
        return lambda: warm_start(champion, vocabulary, torch.Generator().manual_seed(config.seed)), goes_on
    return lambda: cold_start(wanted, config.seed), config.learn


def _same_kind(found: NetworkConfig, wanted: NetworkConfig) -> bool:
    return (found.hidden, found.backbone) == (wanted.hidden, wanted.backbone)


def _warm(train: TrainConfig) -> TrainConfig:
    """Half as much, for weights that know most of it already."""
    return replace(train, actions=train.actions // 2, least_epochs=1, learning_rate=train.learning_rate / 2)
