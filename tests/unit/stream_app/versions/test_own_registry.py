"""Versions are looked up by name in the own registry, and nowhere else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import VersionRefused
from model.versions.manifest import MANIFEST
from model.versions.version import save
from stream_app.settings import Settings
from stream_app.versions.own_registry import check_not_empty, read_for_training, read_version, version_path
from tests.unit.builders.basics import make_version
from tests.unit.builders.versions import save_version


@pytest.mark.parametrize(
    ("registry", "path"),
    [("/models", "/models/v1"), ("s3://bucket/", "s3://bucket/v1"), ("memory://", "memory://v1")],
)
def test_a_version_lies_in_the_registry(registry: str, path: str) -> None:
    assert version_path(Settings(registry=registry), "v1") == path


@pytest.mark.parametrize("name", ["../v1", "..", "", "s3://other/v1", "a::b", "v1\n"])
def test_no_name_leads_out_of_it(name: str) -> None:
    with pytest.raises(VersionRefused, match="is not the name of a version") as refused:
        version_path(Settings(registry="/models"), name)
    assert refused.value.reason == "promotion"


def refusal(settings: Settings, version: str) -> VersionRefused:
    with pytest.raises(VersionRefused) as refused:
        asyncio.run(read_version(settings, version))
    return refused.value


def test_a_version_is_read_under_its_own_name_only(tmp_path: Path) -> None:
    settings = Settings(registry=str(tmp_path), registry_timeout=0.3)
    ref = save_version(tmp_path / "v1")
    assert asyncio.run(read_version(settings, "v1", ref.manifest_sha256)).manifest.name == "v1"
    (tmp_path / "v1").rename(tmp_path / "v2")
    refused = refusal(settings, "v2")
    assert (refused.reason, str(refused)) == ("format", f"the version in {tmp_path}/v2 calls itself v1")
    assert refusal(settings, "v1").reason == "missing_file"


def test_a_registry_that_does_not_answer_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    os.mkfifo(tmp_path / "v1" / MANIFEST)
    refused = refusal(Settings(registry=str(tmp_path), registry_timeout=0.05), "v1")
    assert (refused.reason, str(refused)) == ("unreadable", f"{tmp_path}/v1 does not answer within 0.05 s")


def test_a_registry_without_any_version_may_be_mounted_later(tmp_path: Path) -> None:
    for registry in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(VersionRefused, match=f"the registry {registry} has no version at all: is it mounted?"):
            asyncio.run(check_not_empty(Settings(registry=str(registry))))
    (tmp_path / "v1").mkdir()
    asyncio.run(check_not_empty(Settings(registry=str(tmp_path))))


def test_a_trainer_is_told_when_the_items_of_a_version_were_last_seen(tmp_path: Path) -> None:
    settings, version = Settings(registry=str(tmp_path)), make_version(["a", "b"])
    version.vocabulary.last_seen = np.array([5, 7])
    save(str(tmp_path / "unsaved"), replace(version, name="unsaved", created="2026-01-01T00:00:00Z"))
    found = asyncio.run(read_for_training(settings, "unsaved")).vocabulary.last_seen
    assert found is not None
    assert found.tolist() == [5, 7]
    version.vocabulary.last_seen = None
    save(str(tmp_path / "before"), replace(version, name="before", created="2026-01-01T00:00:00Z"))
    assert asyncio.run(read_for_training(settings, "before")).vocabulary.last_seen is None
