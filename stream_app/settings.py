"""All settings, in one frozen object. `NEXTACT_*` variables are read here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stream_app.errors import SettingsInvalid

PREFIX = "NEXTACT_"


class Settings(BaseSettings):
    """Where each field comes from: the command line, else its `NEXTACT_*` variable, else the default."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    # Kafka
    brokers: str = Field("localhost:9092", description="addresses of Kafka brokers, host:port, with commas between")
    group: str = Field("nextact", min_length=1, description="consumer group of the workers")
    events_topic: str = "shop.events"
    predictions_topic: str = "shop.predictions"
    dead_letters_topic: str = "shop.events.dead-letters"
    state_topic: str = Field("shop.users-changelog", description="changelog of the user states (compacted)")
    models_topic: str = Field("shop.models", description="promotions of model versions (compacted)")
    instance_id: str = Field(
        "",
        description="name of this worker in its group, its own and kept over restarts: one within the session "
        "timeout then moves no partitions (static membership); empty: a new member every time",
    )
    standby_replicas: int = Field(
        0, ge=0, description="workers that read a partition's state along, beside the one that answers"
    )
    partitions: int = Field(8, ge=1, description="of the events, predictions, dead letters and changelog topics")
    replication: int = Field(
        0, ge=0, description="of topics that are created; 0: as many as there are brokers, up to 3"
    )
    stream_epoch: int = Field(
        1,
        ge=0,
        lt=2**32,
        description="raise it when the events topic was created anew: old offsets then mean nothing",
    )
    session_timeout: float = Field(
        10.0, gt=0, description="seconds without a heartbeat until a worker's partitions go to the others"
    )

    delivery: Literal["at-least-once", "exactly-once"] = Field(
        "at-least-once",
        description="at-least-once, or exactly-once (in transactions) for subscribers that read committed records",
    )

    # Serving
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU when there is one")
    device_fallback: bool = Field(
        False, description="the CPU stands in for a GPU that is not there or fails a worker's first step"
    )
    threads: int = Field(1, ge=1, description="of PyTorch on the CPU, in workers and the trainer")
    ranked_by: Literal["network-and-log", "network"] = Field(
        "network-and-log",
        description="what ranks items in a worker: network and log together, or the network alone, which takes a "
        "fraction of the time and finds less",
    )
    ranking_threads: int = Field(
        2, ge=1, description="that rank items in a worker, each a share of a batch; PyTorch's own are apart from these"
    )
    hidden: int = Field(128, ge=8, le=4096, description="numbers in the hidden state, for workers and trainer alike")
    history_length: int = Field(64, ge=1, le=65535, description="events kept per user")
    users_in_memory: int = Field(
        200_000, ge=1, description="users in memory, at most; the others wait in the local store and come back"
    )
    batch_size: int = Field(8192, ge=1, description="events of one fetch and of one batch, at most")
    in_flight: int = Field(3, ge=1, description="batches being delivered at once, at most")
    recommendations: int = Field(10, ge=1, le=20, description="items recommended per prediction")
    next_actions: int = Field(5, ge=1, le=50, description="next actions per prediction")
    rules_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of users whom the rules go on to follow when a model serves, as its yardstick",
    )
    dead_letters_consecutive: int = Field(
        10_000,
        ge=0,
        description="dead letters of one partition in a row, at most; one more ends the worker; 0: no limit",
    )
    dead_letters_ratio: float = Field(
        0.5, ge=0, le=1, description="share of dead letters in the window, at most; more ends the worker; 0: no limit"
    )
    dead_letters_window: int = Field(
        10_000, ge=1, description="newest records of a worker, over which the ratio is taken once there are as many"
    )

    # Models
    registry: str = Field("nextact-data/models", description="folder or fsspec address of the model versions")
    registry_timeout: float = Field(60.0, gt=0, description="seconds that reading or writing a version may take")
    canary_share: float = Field(
        0.1, ge=0, le=0.5, description="share of users who stay with the version before for a while; 0: nobody"
    )
    canary_seconds: float = Field(120.0, gt=0, description="how long they stay, both versions being measured")
    rollback_margin: float = Field(
        0.01,
        ge=0,
        le=1,
        description="how far live hit@20 or MRR@20 may be below the version before, beyond chance, until the trainer "
        "takes that one back",
    )
    registry_keep: int = Field(
        50, ge=1, description="newest versions that the trainer keeps, beside the champion and those it followed"
    )
    backbone: Literal["gru", "linear"] = Field(
        "gru", description="what the trainer trains: gru, or linear (two blocks of a gated linear recurrence)"
    )
    train_every: float = Field(120.0, gt=0, description="seconds between two rounds of training")
    drift_limit: float = Field(
        0.25,
        ge=0,
        description="population stability index of types, categories or items, or share of events on unseen items, "
        "above which a round starts early; 0: never",
    )
    train_min_events: int = Field(
        1000, ge=10, description="events before the first round, and new ones before the next"
    )
    train_max_events: int = Field(2_000_000, ge=1000, description="newest events that a round learns from")
    train_memory: int = Field(
        1280, ge=8, description="MiB that the events of a round may take; what is more waits on disk, in the data dir"
    )
    train_holdout: float = Field(0.1, gt=0, lt=0.5, description="newest share of the events, for the verdict")
    history: str = Field(
        "nextact-data/history", description="folder or fsspec address of the events that the trainer keeps"
    )
    history_days: float = Field(90.0, ge=0, description="days of events kept, back from the newest; 0: for ever")
    seed: int = 1

    # Operation
    data_dir: Path = Field(
        Path("nextact-data"),
        description="folder of the embedded broker, the demo, the workers' local stores, the trainer's checkpoints, "
        "and a long round's events",
    )
    stall_timeout: float = Field(
        120.0, ge=0, description="seconds without progress, though there is work, until a worker ends; 0: never"
    )
    http_host: str = Field("0.0.0.0", description="address of /metrics, /healthz and /readyz")
    http_port: int = Field(9600, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0: a free one")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def registry_address(self) -> str:
        """The registry; a local folder as an absolute path, so that a worker started elsewhere finds it."""
        return _absolute(self.registry)

    @property
    def history_address(self) -> str:
        """The history; a local folder as an absolute path, so that a message says which one it is."""
        return _absolute(self.history)

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        names = [getattr(self, name) for name in type(self).model_fields if name.endswith("_topic")]
        if len(set(names)) < len(names):
            raise ValueError(f"the topics must have different names, not {', '.join(names)}")
        return self


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings with the command line's values (None: not given) over the environment's.

    Raises `SettingsInvalid` with the name, the value and what it should be.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsInvalid("\n".join(_complaint(problem) for problem in error.errors())) from error


def _absolute(address: str) -> str:
    return address if "://" in address else str(Path(address).absolute())


def _complaint(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"])
    name = ".".join(str(part) for part in problem["loc"])
    return f"setting {name} ({PREFIX}{name.upper()}) is {problem['input']!r}: {problem['msg']}"
