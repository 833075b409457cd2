"""Prometheus' rules, the dashboard and the README name metrics and labels that exist; alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream_app.items.metrics import ItemMetrics
from stream_app.pipeline.metrics import RANKERS, STAGES, WorkerMetrics
from stream_app.query.metrics import QuestionMetrics
from stream_app.statistics.metrics import StatisticsMetrics
from stream_app.trainer.metrics import TrainerMetrics
from tests.paths import ROOT
from tests.skips import not_installed

DEPLOY = ROOT / "deploy"


def read_yaml(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for group in read_yaml("prometheus/rules.yml")["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/nextact.json").read_text(encoding="utf-8"))
    return content


def dashboard_targets() -> list[dict[str, Any]]:
    return [target for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def expressions() -> list[str]:
    annotations = [annotation["expr"] for annotation in dashboard()["annotations"]["list"]]
    return [rule["expr"] for rule in rules()] + [target["expr"] for target in dashboard_targets()] + annotations


def exported() -> tuple[set[str], dict[str, dict[str, set[str]]]]:
    """Names of metric families; and of samples, with their labels and the values these have been given."""
    registry = CollectorRegistry()
    worker, trainer = WorkerMetrics(registry), TrainerMetrics(registry)
    ItemMetrics(registry)
    StatisticsMetrics(registry)
    QuestionMetrics(registry).note("/v1/users/{id}", 200, 0.0)
    worker.lag.set_function(lambda: {"0": 0})
    worker.segment_users.set_function(lambda: {"returning": 1})
    worker.model.labels("v1")
    worker.ignored.labels("page_view")
    worker.versions.begin(["v1"])
    for stage in STAGES:
        worker.stage.labels(stage)
    for ranker in RANKERS:
        trainer.recall.labels(ranker)
    families: set[str] = set()
    samples: dict[str, dict[str, set[str]]] = {}
    for family in registry.collect():
        families.add(family.name)
        for sample in family.samples:
            labels = samples.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return families, samples


FAMILIES, SAMPLES = exported()
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
OPEN = {"partition", "version", "le"}  # labels with values that the code does not know beforehand
TARGET = {"job", "instance"}  # labels that Prometheus adds
LABELS = TARGET | {label for labels in SAMPLES.values() for label in labels}


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bnextact[_:][a-z0-9_:]*[a-z0-9]", text))


@pytest.mark.parametrize("expression", expressions())
def test_metrics_in_rules_and_dashboard_exist(expression: str) -> None:
    assert names_in(expression) <= SAMPLES.keys() | RECORDED


def test_metrics_in_the_readme_exist() -> None:
    content = names_in((ROOT / "README.md").read_text(encoding="utf-8"))
    assert content
    assert content <= SAMPLES.keys() | FAMILIES


def test_every_recording_is_used() -> None:
    assert names_in("\n".join(expressions())) >= RECORDED


def matchers(expression: str) -> Iterator[tuple[str, str, str]]:
    for name, inside in re.findall(r"\b(\w[\w:]*)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)="([^"]*)"', inside):
            yield name, label, value


@pytest.mark.parametrize("expression", expressions())
def test_labels_exist(expression: str) -> None:
    jobs = {job["job_name"] for job in read_yaml("prometheus/prometheus.yml")["scrape_configs"]}
    for name, label, value in matchers(expression):
        if label == "job":
            assert value in jobs
        elif label not in OPEN and name in SAMPLES:
            assert value in SAMPLES[name].get(label, ()), f"{name} has no {label} {value!r}"
    for group in re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= LABELS


def test_labels_in_legends_and_annotations_exist() -> None:
    legends = " ".join(target["legendFormat"] for target in dashboard_targets())
    texts = " ".join(text for rule in rules() for text in rule.get("annotations", {}).values())
    assert set(re.findall(r"{{(\w+)}}", legends)) <= LABELS
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= LABELS


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_alerts_say_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert len(alert["annotations"]["summary"]) < 100
    assert alert["annotations"]["description"]


def test_every_alert_is_tested() -> None:
    tested = set(re.findall(r"\bNextact\w+", (DEPLOY / "prometheus/rules_test.yml").read_text(encoding="utf-8")))
    assert tested == {alert["alert"] for alert in alerts()}


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(not_installed("promtool (Debian package: prometheus)"))
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_configuration_and_rules() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus/prometheus.yml"))


def test_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", str(DEPLOY / "prometheus/rules_test.yml"))


def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    filled = [expression.replace("$__rate_interval", "1m") for expression in expressions()]
    recordings = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(filled)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recordings}]}), encoding="utf-8")
    promtool("check", "rules", str(path))


def test_panels_do_not_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_dashboard_asks_the_provisioned_datasource() -> None:
    (source,) = read_yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert {target["datasource"]["uid"] for target in dashboard_targets()} == {source["uid"]}
    host, port = source["url"].removeprefix("http://").split(":")
    assert read_yaml("compose.yaml")["services"][host]["ports"] == [f"127.0.0.1:${{PROMETHEUS_PORT}}:{port}"]
    assert source["jsonData"]["timeInterval"] == read_yaml("prometheus/prometheus.yml")["global"]["scrape_interval"]
