"""Stock Faust's bare loop: an agent that takes events one by one and does nothing with them.

python -m tests.bench.peers.stock_loop BROKERS TOPIC EVENTS GROUP: prints events/s between the first and the last event.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import faust


def main() -> None:
    brokers, topic, count, group = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    app = faust.App(
        group,
        broker=f"kafka://{brokers}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
    )
    events = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def nothing(stream: Any) -> None:
        seen, start = 0, 0.0
        async for _ in stream:
            seen += 1
            if seen == 1:
                start = time.perf_counter()
            if seen == count:
                rate = (count - 1) / (time.perf_counter() - start)
                os.write(1, f"\n{rate}\n".encode())  # Faust takes over sys.stdout
                os._exit(0)

    app.Worker(loglevel="error").execute_from_commandline()


if __name__ == "__main__":
    main()
