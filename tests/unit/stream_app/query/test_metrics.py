"""Questions are counted by path and status, and never by user."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from stream_app.query.metrics import QuestionMetrics
from stream_app.settings import Settings
from tests.unit.builders.questions import AskedWorker


def test_questions_are_counted_and_timed() -> None:
    registry = CollectorRegistry()
    metrics = QuestionMetrics(registry)
    metrics.note("/v1/users/{id}", 200, 0.002)
    metrics.note("/v1/users/{id}", 404, 0.2)
    labels = {"path": "/v1/users/{id}"}
    assert registry.get_sample_value("nextact_questions_total", labels | {"status": "404"}) == 1
    assert registry.get_sample_value("nextact_question_seconds_count", labels) == 2
    assert registry.get_sample_value("nextact_question_seconds_bucket", labels | {"le": "0.0025"}) == 1


def test_a_path_that_there_is_not_and_a_user_have_no_series_of_their_own() -> None:
    worker = AskedWorker(Settings())
    worker.ask(("GET", "/v1/users/u-73"), ("GET", "/u-73"), ("DELETE", "/v1/worker"), ("GET", "/v1/live"))
    exported = generate_latest(worker.registry).decode()
    assert "u-73" not in exported
    for path, status in (("/v1/users/{id}", 404), ("other", 404), ("other", 405), ("/v1/live", 200)):
        assert f'nextact_questions_total{{path="{path}",status="{status}"}} 1.0' in exported
