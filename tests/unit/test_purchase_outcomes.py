"""What was foretold of purchases is settled by the events that follow, whatever batches they come in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.baselines import PURCHASE_HORIZON
from model.events import PURCHASE, TYPE_CODES
from model.purchase_outcomes import PurchaseBoard

VIEW = TYPE_CODES["view"]
Row = tuple[int, bool, float]  # slot, a purchase, the probability foretold after it


def by_hand(rows: list[Row]) -> list[tuple[float, bool]]:
    """User by user, by looking ahead."""
    found = []
    for user in {slot for slot, _, _ in rows}:
        own = [(place, bought, chance) for place, (slot, bought, chance) in enumerate(rows) if slot == user]
        at = 0
        while at < len(own):
            ahead = own[at + 1 : at + 1 + PURCHASE_HORIZON]
            purchases = [n for n, (_, bought, _) in enumerate(ahead) if bought]
            if purchases or len(ahead) == PURCHASE_HORIZON:
                settled = at + 1 + (purchases[0] if purchases else PURCHASE_HORIZON - 1)
                found.append((own[settled][0], own[at][2], bool(purchases)))
                at = settled
            else:
                break
    return [(chance, bought) for _, chance, bought in sorted(found)]


SELDOM = st.integers(0, 19).map(lambda drawn: drawn == 7)  # so that horizons end without a purchase too


@given(
    st.lists(st.tuples(st.integers(0, 3), SELDOM, st.floats(0, 1, width=32)), max_size=120),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_outcomes_are_those_of_looking_ahead(rows: list[Row], sizes: list[int]) -> None:
    board, found, rest = PurchaseBoard(), list[tuple[float, bool]](), rows
    for size in sizes * (1 + len(rows)):
        batch, rest = rest[:size], rest[size:]
        outcomes = board.follow(
            np.array([slot for slot, _, _ in batch], np.int64),
            np.array([PURCHASE if bought else VIEW for _, bought, _ in batch], np.uint8),
            np.array([chance for _, _, chance in batch], np.float32),
            4,
        )
        found += zip(outcomes.foretold.tolist(), outcomes.bought.tolist(), strict=True)
    assert found == by_hand(rows)


def test_what_is_forgotten_is_not_settled() -> None:
    board = PurchaseBoard()
    slots, views, chances = np.array([0, 1]), np.full(2, VIEW, np.uint8), np.full(2, 0.25, np.float32)
    board.follow(slots, views, chances, 2)
    board.forget(np.array([0, 7]))
    outcomes = board.follow(slots, np.full(2, PURCHASE, np.uint8), chances, 2)
    assert outcomes.bought.tolist() == [True]
    board.forget_all()
    assert len(board.follow(slots, np.full(2, PURCHASE, np.uint8), chances, 2).bought) == 0


def test_a_horizon_that_ends_without_a_purchase_settles_it() -> None:
    board, slot = PurchaseBoard(), np.zeros(1, np.int64)
    settled = [
        len(board.follow(slot, np.full(1, VIEW, np.uint8), np.full(1, 0.5, np.float32), 1).bought)
        for _ in range(1 + 2 * PURCHASE_HORIZON)
    ]
    assert [place for place, number in enumerate(settled) if number] == [PURCHASE_HORIZON, 2 * PURCHASE_HORIZON]
