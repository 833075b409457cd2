"""Quix Streams: events counted per user, with the count in the output.

python -m tests.bench.peers.quix_counter BROKERS EVENTS OUTPUT GROUP FOLDER: runs until it is ended.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State


def count(event: dict[str, Any], state: State) -> dict[str, Any]:
    seen = state.get("seen", 0) + 1
    state.set("seen", seen)
    return {"user_id": event["user_id"], "event_id": event["event_id"], "seen": seen}


def main() -> None:
    brokers, topic, output, group, folder = sys.argv[1:]
    app = Application(
        broker_address=brokers,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="WARNING",
    )
    frame = app.dataframe(app.topic(topic))
    frame.apply(count, stateful=True).to_topic(app.topic(output))
    app.run()


if __name__ == "__main__":
    main()
