"""What a user sees: results, progress, one clear line and exit code 2 for a mistake, never a traceback."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from stream_app.kafka.publisher import publish
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.ports import free_port
from stream_app.settings import Settings
from tests.integration.running import nextact
from tests.integration.topics import read_all

pytestmark = pytest.mark.broker


def from_nothing(*arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """A command as a user starts it: `nextact` is forked from a process that has imported what takes seconds."""
    command = [sys.executable, "-m", "stream_app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def assert_mistake(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize("command", ["worker", "trainer", "topics", "watch", "simulate"])
def test_no_broker_at_the_address(command: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert_mistake(from_nothing(command, "--brokers", address), address, "--brokers", "nextact broker")


def test_a_setting_that_cannot_be() -> None:
    worker = partial(nextact, "worker", settings=Settings())
    assert_mistake(worker("--rules-share", "7"), "rules_share", "7", "NEXTACT_RULES_SHARE")
    assert_mistake(worker("--device", "abacus"), "abacus", "auto, cpu, cuda")
    assert_mistake(worker("--device", "cuda:99"), "cuda:99")


def test_topics_with_another_number_of_partitions(settings: Settings) -> None:
    made = nextact("topics", settings=settings)
    assert made.returncode == 0
    assert made.stdout.count("made") == 9
    again = nextact("topics", settings=settings)
    assert again.stdout.count("ok") == 9
    other = settings.model_copy(update={"partitions": 5})
    assert_mistake(nextact("topics", settings=other), settings.events_topic, "4 partitions", "5", "NEXTACT_PARTITIONS")
    assert_mistake(nextact("worker", settings=other), "4 partitions")


def test_missing_topics_are_named(settings: Settings) -> None:
    assert_mistake(nextact("topics", "--check", settings=settings), settings.models_topic, "nextact topics")


def test_a_port_in_use(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_mistake(nextact("worker", "--http-port", str(port), settings=settings), str(port), "--http-port")
        assert_mistake(nextact("broker", "--port", str(port), settings=settings), str(port))


def test_files_that_cannot_be_read(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(ensure_topics(settings))
    log = tmp_path / "log.csv"
    log.write_text("visitor,sku,type\nu1,i1,click\nu1,i2,gaze\n")
    assert_mistake(nextact("send", str(tmp_path / "none.csv"), settings=settings), "none.csv")
    wrong = nextact("send", str(log), "--column", "user_id=customer", settings=settings)
    assert_mistake(wrong, "customer", "visitor")
    columns = ("--column", "user_id=visitor", "--column", "item_id=sku")
    assert_mistake(nextact("send", str(log), *columns, settings=settings), "gaze", "--type-map")
    assert_mistake(nextact("send", str(log), *columns, "--column", "user_id", settings=settings), "user_id", "=")
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(b"\x1f\x8b broken")
    assert_mistake(nextact("send", str(packed), settings=settings), "log.csv.gz")


def test_send_publishes_a_file(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(ensure_topics(settings))
    log = tmp_path / "log.csv"
    log.write_text("visitor,sku,type,when\nu1,i1,click,2018-03-01 00:00:06\nu1,i2,gaze,2018-03-01 00:00:07\n")
    columns = ("--column", "user_id=visitor", "--column", "item_id=sku", "--column", "timestamp=when")
    done = nextact("send", str(log), *columns, "--type-map", "gaze=", settings=settings)
    assert done.returncode == 0, done.stderr
    assert "1 events" in done.stderr
    assert "1 rows left out" in done.stderr
    (record,) = read_all(settings, settings.events_topic)
    assert record.key == b"u1"
    assert json.loads(record.value) == {
        "user_id": "u1",
        "type": "click",
        "item_id": "i1",
        "timestamp": 1519862406000,
    }


def test_watch_shows_titles_of_the_catalogue(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    prediction = {
        "prediction_id": "p", "user_id": "ada", "event_id": None, "event_type": "view", "event_timestamp": 0,
        "model_version": "v1",
        "source": {"partition": 0, "offset": 0}, "history_length": 1, "next_type": {}, "purchase_probability": 0.5,
        "next_actions": [{"type": "cart", "item_id": "i1", "probability": 0.25}],
        "recommendations": [{"item_id": "i2", "score": 0.5}, {"item_id": "i3", "score": 0.25}],
    }  # fmt: skip
    items = [(b"i1", b'{"title": "Red shoes"}'), (b"i2", b'{"title": "Socks"}'), (b"i3", b"{"), (b"i2", None)]

    async def fill() -> None:
        await publish([(b"ada", json.dumps(prediction).encode())], kafka=settings, topic=settings.predictions_topic)
        await publish(items, kafka=settings, topic=settings.items_topic)

    asyncio.run(fill())
    done = nextact("watch", "--from-start", "--count", "1", settings=settings)
    assert done.returncode == 0, done.stderr
    assert 'next cart "Red shoes" 25%' in done.stdout
    assert "show i2, i3 [v1]" in done.stdout


def test_send_makes_baskets_of_rows(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(ensure_topics(settings))
    log = tmp_path / "log.csv"
    rows = ("ada,shoe,9.5,2018-03-01", "bo,hat,3,2018-03-01", "ada,sock,,2018-03-01", "ada,tie,1,2018-03-02")
    log.write_text("\n".join(("user_id,item_id,price,timestamp", *rows)))
    done = nextact("send", str(log), "--type", "purchase", "--baskets", settings=settings)
    assert done.returncode == 0, done.stderr
    assert "3 events" in done.stderr
    of_ada = [json.loads(record.value) for record in read_all(settings, settings.events_topic) if record.key == b"ada"]
    bought = {"user_id": "ada", "type": "purchase"}
    assert of_ada == [
        bought | {"timestamp": 1519862400000, "items": [{"item_id": "shoe", "price": 9.5}, {"item_id": "sock"}]},
        bought | {"timestamp": 1519948800000, "item_id": "tie", "price": 1.0},
    ]


def test_doctor_says_what_is_wrong_and_masks_secrets(settings: Settings) -> None:
    secret = settings.model_copy(update={"registry": "s3://key:hunter2@bucket/models"})
    sick = nextact("doctor", settings=secret)
    assert sick.returncode == 1
    assert "FAIL" in sick.stdout
    assert "hunter2" not in sick.stdout + sick.stderr
    nextact("topics", settings=settings)
    well = nextact("doctor", settings=settings)
    assert well.returncode == 0, well.stdout
    assert "NEXTACT_EVENTS_TOPIC" in well.stdout
    assert "FAIL" not in well.stdout
    for words in (
        "idempotent producers",
        "transactions",
        "compression",
        "min.insync.replicas 1",
        "no events yet",
        "files: a process",
    ):
        assert words in well.stdout


def test_the_demo_ends_by_itself_with_a_summary(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = from_nothing(
        "demo", "--events", "4000", "--history", "2500", "--rate", "300", "--report", str(report), timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\nsee it in the browser: http://127\.0\.0\.1:\d+/   \(a simulated shop\)\n", done.stdout)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["events"] == 4000
    assert summary["events"] == summary["predictions"] + summary["dead_letters"]
    assert summary["dead_letters"] > 0
    assert set(summary) == {
        "events",
        "predictions",
        "dead_letters",
        "models_published",
        "models_loaded",
        "model_version",
        "latency_ms",
        "hit_at_20",
        "events_per_second",
        "shop",
        "found_at_20",
        "report",
    }
    assert summary["shop"] == "simulated"
    assert 'class="mark">simulated shop' in report.read_text()


def test_ctrl_c_ends_the_demo_within_ten_seconds_and_leaves_no_process(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    command = [sys.executable, "-m", "stream_app", "demo", "--history", "500", "--report", str(report)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "predictions/s" in line:
                break
        family = psutil.Process(demo.pid).children(recursive=True)
        assert len(family) >= 3  # guards, and behind them Kafka and a worker
        interrupted = time.monotonic()
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
        assert demo.wait(20) == 130
    assert time.monotonic() - interrupted < 10
    assert json.loads(rest.splitlines()[-1])["events"] >= 500
    assert report.read_text().endswith("</html>\n")
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
