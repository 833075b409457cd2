"""A bare aiokafka loop: decodes every event and sends its bytes on.

python -m tests.bench.peers.bare_aiokafka BROKERS EVENTS OUTPUT GROUP: runs until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


async def echo(brokers: str, topic: str, output: str, group: str) -> None:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=brokers, group_id=group, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True)
    async with consumer, producer:
        async for record in consumer:
            json.loads(record.value)
            await producer.send(output, record.value, record.key, partition=record.partition)


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
