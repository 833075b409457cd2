"""Questions of a real worker: what is answered is what was published, for each user their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest

from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import Running
from tests.integration.test_end_to_end import Start
from tests.integration.topics import read_all, send_all

pytestmark = pytest.mark.broker


def event(user: str, item: str) -> tuple[bytes, bytes]:
    return user.encode(), json.dumps({"user_id": user, "type": "view", "item_id": item}).encode()


def get(worker: Running, path: str) -> tuple[int, Any]:
    """Asks a question; returns status and what came back."""
    try:
        with urllib.request.urlopen(worker.api + path, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_every_user_is_answered_by_their_newest_prediction(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    worker = start("worker")
    worker.wait_ready()
    assert get(worker, "/v1/users/u1")[1]["error"]["code"] == "unknown_user"
    users = [f"u{number}" for number in range(30)] + ["a/b é"]
    send_all(settings, [event(user, f"shoe {number}") for number in range(3) for user in users])
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") == 3 * len(users))
    newest = {record.key.decode(): record for record in read_all(settings, settings.predictions_topic)}
    assert set(newest) == set(users)
    for user, record in newest.items():
        status, answer = get(worker, "/v1/users/" + quote(user, safe=""))
        assert (status, answer["prediction"]) == (200, json.loads(record.value))
        assert (answer["user_id"], answer["partition"], answer["source"]) == (user, record.partition, "published")
        assert 0 <= answer["age_ms"] < 60_000
        assert [one["item_id"] for one in answer["history"]] == ["shoe 2", "shoe 1", "shoe 0"]
    status, who = get(worker, "/v1/worker")
    assert (who["partitions"], who["ready"], who["version"]) == ([0, 1, 2, 3], True, None)
    assert get(worker, "/v1/users?active=100")[1]["users"][0]["user_id"] in users
    with urllib.request.urlopen(who["metrics"], timeout=5) as response:
        assert b"nextact_events_total 93.0" in response.read()
    assert worker.terminate() == 0
    second = start("worker")  # which has published nothing of them
    second.wait_ready()
    for user, record in newest.items():
        status, answer = get(second, "/v1/users/" + quote(user, safe=""))
        assert (status, answer["source"], answer["prediction"]["prediction_id"]) == (200, "state", None)
        assert answer["prediction"]["source"] == json.loads(record.value)["source"]
        assert [one["seconds_before"] for one in answer["history"]] == [0, 0, 0]
    assert get(second, "/v1/users/nobody")[0] == 404
    check_all_that_the_document_allows(second)
    assert second.metric("nextact_questions_total", "500") == 0
    assert second.terminate() == 0


def check_all_that_the_document_allows(worker: Running) -> None:
    """Has schemathesis ask whatever the OpenAPI document allows, and what it does not, and check the answers by it.

    Two checks are left out: that nothing is a 503, as no version serves here, and that every object is an event.
    """
    program, left_out = Path(sys.executable).with_name("schemathesis"), "not_a_server_error,positive_data_acceptance"
    options = f"--url {worker.api} --max-examples 15 --seed 1 --no-color --exclude-checks {left_out}".split()
    command = [str(program), "run", f"{worker.api}/openapi.json", *options]
    with TemporaryDirectory() as folder:  # where it keeps what it has found
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
