"""What an event costs after a history of so many: the engines of a worker, one event of each of 512 users.

Beside it the same model without a kept state: the last 200 events of a user run through the network again for each
event. Processor time, medians, of the second of two calls; before each call the users are put back to what they were.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from model.data.events import Event, actions_of
from model.serving.answer_engine import AnswerEngine
from model.serving.serving import Serving
from model.serving.state_engine import StateEngine
from model.state.user_record import pack
from model.state.user_states import UserStates
from stream_app.settings import Settings
from tests.bench.compare import Ratio, clock_of, in_turn, seconds, show
from tests.bench.made_up import LAST_TIME, named, served_version, sessions, users_of

BATCH: Final = 512
HISTORIES: Final = (10, 100, 1_000, 10_000)  # events
AGAIN: Final = 200  # events run through again
_AT_ONCE: Final = 64  # users: more would leave the caches


def incremental(options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns microseconds per event, of both engines and of the network alone."""
    device = torch.device(options.device)
    vocabulary = named(options.items)
    serving = served_version(sessions(vocabulary, options.events), vocabulary, device)
    engines = {_after(length): _EnginesAfter(serving, length) for length in HISTORIES}
    clock = clock_of(device)

    def timed(run: Callable[[], object], prepare: Callable[[], object] | None = None) -> Callable[[], float]:
        def microseconds() -> float:
            for _ in range(2):  # the contestant before leaves the caches full of something else
                if prepare is not None:
                    prepare()
                taken = seconds(run, clock)
            return 1e6 * taken / BATCH

        return microseconds

    runs = {name: timed(both.advance, both.put_back) for name, both in engines.items()}
    step, again = f"the network: one step of {BATCH}", f"the network: the last {AGAIN} events again"
    runs |= {step: timed(_step(serving)), again: timed(_again(serving))}
    few, many = _after(HISTORIES[0]), _after(HISTORIES[-1])
    wanted = (Ratio(many, few, most=1.1), Ratio(again, step, least=20), Ratio(again, few))
    return show(in_turn(runs, options.repeats or 20, said=False), "us per event", wanted)


def _after(length: int) -> str:
    return f"an event after {length:,}"


class _EnginesAfter:
    """Engines whose users have had so many events, and the users' next ones."""

    def __init__(self, serving: Serving, length: int) -> None:
        rng, items = np.random.default_rng(length), len(serving.vocabulary)
        users = [f"user-{number}" for number in range(BATCH)]
        hidden, counts = serving.network.backbone.state_size, np.full(BATCH, length)
        stored = users_of(counts, hidden=hidden, weights_id=serving.weights_id, items=items)
        self._stored = dict(zip(users, pack(stored), strict=True))
        states = UserStates(hidden=hidden, length=64, epoch=1, device=serving.device)
        self._engine, self._answers = StateEngine(states, rules_share=Settings().rules_share), AnswerEngine()
        self._engine.serve(serving)
        self._slots = self._engine.slots_of([0] * BATCH, users)
        events = [Event(user_id=user, type="view", item_id=f"item-{rng.integers(items)}") for user in users]
        self._actions = actions_of(events, np.full(BATCH, LAST_TIME + 60_000))
        self._offsets = np.arange(BATCH) + BATCH

    def put_back(self) -> None:
        self._engine.states.restore(0, self._stored)

    def advance(self) -> None:
        self._engine.slots_of([0] * BATCH, self._actions.users)
        self._answers.answer(self._engine.step(self._slots, self._actions, self._offsets))


@torch.inference_mode()
def _step(serving: Serving) -> Callable[[], object]:
    item_keys, contexts = _inputs(serving, 1)
    tokens = serving.vocabulary.tokens(item_keys[:, 0], contexts[:, 0]).to(serving.device)
    users, cuts = torch.arange(BATCH, device=serving.device), np.array([0, BATCH])
    hidden = serving.network.initial_state(BATCH).half()
    return torch.inference_mode()(lambda: serving.stepper.step(tokens, users, cuts, hidden))


def _again(serving: Serving) -> Callable[[], object]:
    tokens = serving.vocabulary.tokens(*_inputs(serving, AGAIN)).to(serving.device)
    parts = [tokens[start : start + _AT_ONCE] for start in range(0, BATCH, _AT_ONCE)]
    return torch.inference_mode()(lambda: [serving.network(part) for part in parts])


def _inputs(serving: Serving, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of known items, (BATCH, steps)."""
    rng = np.random.default_rng(1)
    item_keys = serving.vocabulary.item_keys[rng.integers(0, len(serving.vocabulary.item_keys), (BATCH, steps))]
    return item_keys, np.full((BATCH, steps), 3, np.uint32)
