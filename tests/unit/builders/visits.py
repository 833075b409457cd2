"""A shop of which it is known who leaves and who comes back."""

from __future__ import annotations

import numpy as np

from model.data.events import Event, actions_of
from model.data.sequences import Sequences, sequences_of

MINUTE, DAY = 60_000, 86_400_000
BEGIN = 1_600_000_000_000


def shop(users: int, days: int, seed: int = 0) -> Sequences:
    """Regulars come every other day, others after three weeks; who searches leaves in four cases of five, others in one
    of five."""
    rng, rows = np.random.default_rng(seed), list[tuple[int, str, str]]()
    for user in range(users):
        regular, now = user % 2 == 0, int(rng.integers(2 * DAY))
        while now < days * DAY:
            kind = "search" if rng.random() < 0.3 else "view"
            rows.append((now, f"{seed} {user}", kind))
            if rng.random() < (0.8 if kind == "search" else 0.2):
                now += int((2 if regular else 21) * DAY * rng.uniform(0.8, 1.2))
            else:
                now += int(rng.integers(1, 20)) * MINUTE
    rows.sort()
    events = [Event(user_id=user, type=kind, item_id=f"item {len(user) % 5}", query="x") for _, user, kind in rows]
    return sequences_of(actions_of(events, [BEGIN + time for time, _, _ in rows]))
