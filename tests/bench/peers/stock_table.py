"""A stock Faust table with bytes as values, recovered from its changelog.

python -m tests.bench.peers.stock_table BROKERS EVENTS GROUP PARTITIONS: prints a line when it is ready, and goes on.
Its changelog is `<GROUP>-users-changelog`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import faust


def main() -> None:
    brokers, topic, group, partitions = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    app = faust.App(
        group,
        broker=f"kafka://{brokers}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
    )
    raw = faust.Schema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    events = app.topic(topic, partitions=partitions, schema=raw)
    users = app.Table("users", partitions=partitions, key_type=bytes, value_type=bytes)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def keep(stream: Any) -> None:
        async for event in stream.events():
            users[event.key] = event.value

    @users.on_recover  # type: ignore[untyped-decorator]
    async def ready() -> None:  # awaited by Faust
        os.write(1, f"\nready {len(users)}\n".encode())  # Faust takes over sys.stdout

    app.Worker(loglevel="error").execute_from_commandline()


if __name__ == "__main__":
    main()
