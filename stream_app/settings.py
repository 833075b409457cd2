"""All settings, in one frozen object. `NEXTACT_*` variables are read here, by `environment`, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from model.addresses import HIDDEN, check_store, secrets_in, shown
from model.profile.parts import Part, parts_of
from stream_app.environment import PREFIX, FilesSource, variable_of
from stream_app.errors import SettingsInvalid
from stream_app.kafka_settings import Compression, KafkaSettings, WriteFormat

__all__ = ["PREFIX", "Compression", "EventFormat", "Settings", "WriteFormat", "load_settings"]

_LEAST_SECRET: Final = 4  # characters: a shorter one cannot be told from what is no secret

EventFormat = Literal["auto", "nextact", "segment", "ga4", "ubi"]


class Settings(KafkaSettings):
    """All settings; each comes from the command line, else from its `NEXTACT_*` variable, or the file that such a
    variable with `_FILE` behind it names, else from its default."""

    # Serving
    event_format: EventFormat = Field(
        "auto",
        description="format of the events: auto (each record shows its own), nextact, segment, ga4 or ubi",
    )
    ignored_events: str = Field(
        "",
        description="names of more events that are no shopper's action and are passed over, separated by commas, "
        "beside page_view, scroll and others of GA4's and Segment's",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one")
    device_fallback: bool = Field(
        False, description="use the CPU when the GPU is missing or fails a worker's first step"
    )
    threads: int = Field(1, ge=1, description="PyTorch's threads on the CPU, in workers and the trainer")
    ranked_by: Literal["network-and-log", "network"] = Field(
        "network-and-log",
        description="what ranks items in a worker: network and log together, or the network alone, which takes a "
        "fraction of the time and hits less often",
    )
    ranking_threads: int = Field(
        2, ge=1, description="threads that rank items in a worker, each a share of a batch, beside PyTorch's threads"
    )
    hidden: int = Field(
        128, ge=8, le=4096, description="width of a user's hidden state, the same for workers and trainer"
    )
    history_length: int = Field(64, ge=1, le=65535, description="events kept per user")
    users_in_memory: int = Field(
        200_000, ge=1, description="most users in a worker's memory; the others are in its local store"
    )
    batch_size: int = Field(8192, ge=1, description="most events of one fetch and of one batch")
    in_flight: int = Field(8, ge=1, description="most batches being delivered at once")
    recommendations: int = Field(10, ge=1, le=20, description="items recommended per prediction")
    next_actions: int = Field(5, ge=1, le=50, description="next actions per prediction")
    rules_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of users whom the rules answer when a model serves, to compare it with; they learn from all",
    )
    visit_minutes: float = Field(
        30.0, gt=0, le=10_000, description="minutes without an action after which a signal says that a visit has ended"
    )
    expected_purchase: float = Field(
        0.3, gt=0, le=1, description="probability of a purchase from which on a signal says that none came in a visit"
    )
    dead_letters_consecutive: int = Field(
        10_000,
        ge=0,
        description="most dead letters of one partition in a row; one more ends the worker; 0: no limit",
    )
    dead_letters_ratio: float = Field(
        0.5, ge=0, le=1, description="largest share of dead letters in the window; more ends the worker; 0: no limit"
    )
    dead_letters_window: int = Field(
        10_000, ge=1, description="newest records of a worker in which the share counts, once there are so many"
    )

    # Models
    registry: str = Field("nextact-data/models", description="folder or fsspec address of the model versions")
    registry_timeout: float = Field(60.0, gt=0, description="seconds that reading or writing a version may take")
    canary_share: float = Field(
        0.1, ge=0, le=0.5, description="share of users who keep the version before for a while; 0: nobody"
    )
    canary_seconds: float = Field(
        600.0, gt=0, description="seconds that they keep it, while both versions are measured and no other is promoted"
    )
    holdback_share: float = Field(
        0.02,
        ge=0,
        le=0.5,
        description="share of users who keep the version before afterwards, until the next one; 0: nobody",
    )
    rollback_margin: float = Field(
        0.01,
        ge=0,
        le=1,
        description="how far, beyond chance, live hit@20 or MRR@20 may be below the version before until the trainer "
        "rolls back to it",
    )
    registry_keep: int = Field(
        50, ge=1, description="newest versions that the trainer keeps, beside the champion and its predecessors"
    )
    backbone: Literal["gru", "linear"] = Field(
        "gru", description="network that the trainer fits: gru, or linear (two blocks of a gated linear recurrence)"
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
    train_max_events: int = Field(
        2_000_000,
        ge=1000,
        description="newest events that a round reads; network, combiner and purchase head learn from these",
    )
    item_days: float = Field(
        90.0, ge=0, description="days after the last event on an item until it leaves the next version; 0: never"
    )
    train_memory: int = Field(
        1280, ge=8, description="most MiB of memory for the events of a round; more of them go to disk, in the data dir"
    )
    train_holdout: float = Field(0.1, gt=0, lt=0.5, description="newest share of the events, held out for the verdict")
    history: str = Field(
        "nextact-data/history", description="folder or fsspec address of the events that the trainer keeps"
    )
    history_days: float = Field(90.0, ge=0, description="days of events to keep, back from the newest event; 0: all")
    seed: int = 1

    # Statistics of items, from the stream
    statistics: bool = Field(True, description="rank items by what the stream says of them up to now, too")
    statistics_memory: int = Field(
        512, ge=8, description="most MiB of the statistics in each process; what matters least is forgotten"
    )
    statistics_writer: bool = Field(
        True, description="have the trainer start the process that counts, `nextact statistics`, beside its rounds"
    )

    # Profiles
    profile: str = Field(
        "preferences,segment,scores,reasons",
        description="what predictions say of their user: some of preferences, segment, scores and reasons, or none",
    )
    reasons: int = Field(3, ge=0, le=20, description="recommendations of a prediction that come with their reasons")

    # Operation
    data_dir: Path = Field(
        Path("nextact-data"),
        description="folder for the embedded broker, the demo, the workers' local stores, the trainer's checkpoints, "
        "and a long round's events",
    )
    cache_dir: str = Field(
        "",
        description="folder for what is compiled, loops and kernels, which the next start need not compile then; "
        "empty: where numba and Triton keep it",
    )
    stall_timeout: float = Field(
        120.0, ge=0, description="seconds without progress, though there is work, after which a worker ends; 0: never"
    )
    http_host: str = Field("0.0.0.0", description="address of /metrics, /healthz and /readyz")
    http_port: int = Field(9600, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0: a free one")
    api_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address at which workers answer questions; another than loopback needs tokens",
    )
    api_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port at which workers answer questions; unset: 9680, or a free one where that is taken; "
        "0: a free one",
    )
    api_tokens: SecretStr = Field(
        SecretStr(""),
        description="tokens that questions are asked with, separated by white space; empty: none is needed",
    )
    advertised: str = Field(
        "",
        description="address at which the other workers of the group ask this one: a host, host:port or "
        "http://host:port; empty: this host's address, or loopback on one machine",
    )
    api_rate: float = Field(
        1000.0, ge=0, description="most questions per second from one address; more are refused; 0: no limit"
    )
    answers_in_memory: int = Field(
        50_000, ge=0, description="users whose newest prediction a worker keeps in memory for questions; 0: none"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def registry_address(self) -> str:
        """The address of the registry; a local folder as an absolute path, so that other processes find it."""
        return _absolute(self.registry)

    @property
    def history_address(self) -> str:
        """The address of the history; a local folder as an absolute path, so that messages say which one it is."""
        return _absolute(self.history)

    def variables(self) -> dict[str, str]:
        """Returns the environment that gives another process the same settings, secrets included; what is unset is left
        out."""
        given = ((name, getattr(self, name)) for name in type(self).model_fields)
        values = ((name, value) for name, value in given if value is not None)
        return {
            variable_of(name): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values
        }

    def secrets(self) -> frozenset[str]:
        """Returns all passwords, tokens and signatures among the settings, so that they can be hidden in texts."""
        secrets: set[str] = set()
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                secrets |= {value.get_secret_value(), *value.get_secret_value().split()}
            else:
                secrets |= secrets_in(str(value))
        return frozenset(secret for secret in secrets if len(secret) >= _LEAST_SECRET)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, shown(value) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Returns where settings come from, the most important first. Raises `SettingsInvalid`."""
        return init_settings, env_settings, FilesSource(settings_cls, os.environ)

    @field_validator("registry", "history")
    @classmethod
    def _names_a_store(cls, address: str) -> str:
        check_store(address)
        return address

    @field_validator("profile")
    @classmethod
    def _names_parts(cls, profile: str) -> str:
        parts_of(profile)
        return profile

    @property
    def profile_parts(self) -> frozenset[Part]:
        """What predictions say of their user; reasons only where a recommendation comes with any."""
        return parts_of(self.profile) - (frozenset() if self.reasons else frozenset({"reasons"}))


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Returns the settings, with the command line's values (None: not given) before the environment's.

    Raises `SettingsInvalid` with the name, the value and what it should be.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsInvalid("\n".join(_message(problem) for problem in error.errors())) from error


def _absolute(address: str) -> str:
    return address if "://" in address else str(Path(address).absolute())


def _message(problem: Any) -> str:
    reason = str(problem["msg"]).removeprefix("Value error, ")  # pydantic's words before those of our own checks
    if not problem["loc"]:
        return reason
    name, value = ".".join(map(str, problem["loc"])), problem["input"]
    field = Settings.model_fields.get(name)
    if field is not None and field.annotation is SecretStr:
        value = HIDDEN
    elif isinstance(value, str):
        value = shown(value)
    return f"setting {name} ({variable_of(name)}) is {value!r}: {reason}"
