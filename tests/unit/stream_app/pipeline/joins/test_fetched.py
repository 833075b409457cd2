"""What was read of the joins ends durable or dropped."""

from __future__ import annotations

import asyncio

from stream_app.pipeline.joins.fetched import JoinsFetch, JoinsResponse
from tests.unit.builders.basics import make_record


def test_a_fetch_says_where_the_next_one_begins_and_a_response_how_it_ended() -> None:
    async def body() -> None:
        fetch = JoinsFetch(3, [make_record(b"", offset=offset) for offset in (4, 9)])
        assert fetch.next == 10
        durable, dropped = JoinsResponse([fetch], 1), JoinsResponse([fetch], 1)
        durable.ack()
        dropped.drop()
        assert (await durable.ended, await dropped.ended) == (True, False)
        assert durable.message.generation_id == 1

    asyncio.run(body())
