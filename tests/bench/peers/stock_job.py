"""The whole job written the natural way in stock Faust: event by event, a `Table`, the same model, `topic.send`.

python -m tests.bench.peers.stock_job BROKERS EVENTS PREDICTIONS GROUP PARTITIONS VERSION: runs until it is ended.
The model is the network of a version, at batch 1, with all items scored; what a version's fusion adds is left out.
"""

from __future__ import annotations

import sys
from typing import Any

import faust
import numpy as np
import torch

from model.data.events import TYPE_CODES, item_key
from model.versions.version import load

TOP = 10


class Predictor:
    """A version's network, one event at a time."""

    def __init__(self, path: str) -> None:
        version = load(path)
        self.network, self.vocabulary = version.network.eval(), version.vocabulary
        with torch.inference_mode():
            self.items = self.network.item_vectors().T.contiguous()

    @torch.inference_mode()
    def step(self, event: dict[str, Any], state: list[float] | None) -> tuple[list[float], dict[str, Any]]:
        """The state after an event, and the prediction."""
        item_keys = np.array([item_key(event["item_id"])], np.uint64)
        tokens = self.vocabulary.tokens(item_keys, np.array([TYPE_CODES[event["type"]]], np.uint32))
        before = self.network.initial_state(1) if state is None else torch.tensor([state])
        after, vectors = self.network.step(tokens, before)
        scores, items = (self.network.queries(vectors) @ self.items).softmax(-1).topk(TOP)
        best = [
            {"item_id": self.vocabulary.items[item], "score": score}
            for item, score in zip(items[0].tolist(), scores[0].tolist(), strict=True)
        ]
        kinds = self.network.type_logits(vectors).softmax(-1)[0].tolist()
        return after[0].tolist(), {
            "user_id": event["user_id"],
            "event_id": event["event_id"],
            "next_type": dict(zip(TYPE_CODES, kinds, strict=True)),
            "recommendations": best,
        }


def main() -> None:
    brokers, topic, output, group, partitions, path = sys.argv[1:]
    torch.set_num_threads(1)
    app = faust.App(
        group,
        broker=f"kafka://{brokers}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=int(partitions),
        consumer_auto_offset_reset="earliest",
    )
    events = app.topic(topic, key_type=str, value_serializer="json", partitions=int(partitions))
    predictions = app.topic(output, key_type=str, value_serializer="json", partitions=int(partitions))
    states = app.Table("states", partitions=int(partitions))
    predictor = Predictor(path)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def predict(stream: Any) -> None:
        async for event in stream:
            user = event["user_id"]
            states[user], prediction = predictor.step(event, states.get(user))
            await predictions.send(key=user, value=prediction)

    app.Worker(loglevel="error").execute_from_commandline()


if __name__ == "__main__":
    main()
