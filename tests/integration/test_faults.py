"""The short dose of the fault suite: a little of everything, in one run, judged by its oracle."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.broker


def test_nothing_is_lost_or_wrong_when_workers_and_a_broker_die(
    kafka_version: str | None, pytestconfig: pytest.Config
) -> None:
    command = [sys.executable, "-m", "tests.faults", "--dose", "short"]
    command += ["--kafka", kafka_version] if kafka_version else []
    command += ["--secure"] if pytestconfig.getoption("kafka_secure", None) else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    (run,) = report["runs"]
    assert run["faults"].keys() >= {"kill -9", "kill -9 at predictions-sent", "SIGTERM", "kill broker"}
    assert report["events"] > 1000
    assert report["poison"] > 20
    assert report["lost"] == report["wrong_answers"] == report["wrong_states"] == report["wrong_questions"] == 0
    assert run["questions"]["200"] > 200
