"""The settings of the connection to Kafka, of topics and of the group."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stream_app.environment import PREFIX, connection_problem

_OF_SECURITY: Final = ("security_", "sasl_", "ssl_")  # how names of settings of a connection begin

Compression = Literal["none", "lz4", "zstd", "gzip", "snappy"]
WriteFormat = Literal["current", "previous"]


class KafkaSettings(BaseSettings):
    """What a process needs to know of its Kafka."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    brokers: str = Field("localhost:9092", description="addresses of Kafka brokers, host:port, separated by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL (TLS), SASL_PLAINTEXT or SASL_SSL, as the brokers' listener has it"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    sasl_username: str = Field("", description="user of PLAIN and SCRAM")
    sasl_password: SecretStr = Field(SecretStr(""), description="password of PLAIN and SCRAM")
    sasl_oauth_token_url: str = Field("", description="address at which OAUTHBEARER gets tokens by client credentials")
    sasl_oauth_client_id: str = Field("", description="client that asks for tokens there")
    sasl_oauth_client_secret: SecretStr = Field(SecretStr(""), description="its secret")
    sasl_oauth_scope: str = Field("", description="scope of the tokens; empty: the server's default")
    sasl_oauth_provider: str = Field(
        "",
        description="module:attribute that returns tokens for OAUTHBEARER instead, for Amazon MSK "
        "stream_app.kafka.msk:token",
    )
    ssl_cafile: str = Field(
        "", description="file with the certificates of the authorities that are trusted, PEM; empty: the system's"
    )
    ssl_certfile: str = Field("", description="file with the client's certificate (and those between), PEM, for mTLS")
    ssl_keyfile: str = Field("", description="file with the certificate's key, PEM; empty: it is in the same file")
    ssl_password: SecretStr = Field(SecretStr(""), description="password of the key")
    ssl_check_hostname: bool = Field(True, description="refuse a broker whose certificate is for another host")
    client_rack: str = Field(
        "", description="rack or zone of this process: consumers then read from a replica in it, if brokers allow that"
    )
    group: str = Field("nextact", min_length=1, description="consumer group of the workers")
    events_topic: str = "shop.events"
    predictions_topic: str = "shop.predictions"
    predictions_latest_topic: str = Field(
        "",
        description="each user's newest prediction, for stores that follow a topic (compacted); empty: none",
    )
    profile_topic: str = Field(
        "",
        description="what is said of users (preferences, segment, scores), in place of the predictions (compacted); "
        "empty: predictions say it",
    )
    dead_letters_topic: str = "shop.events.dead-letters"
    state_topic: str = Field("shop.users-changelog", description="changelog of the user states (compacted)")
    joins_topic: str = Field("shop.joins", description="what anonymous users did, on its way to who they are")
    models_topic: str = Field("shop.models", description="promotions of model versions (compacted)")
    canary_topic: str = Field(
        "shop.canary-reports", description="the workers' reports on a new version, for the trainer (compacted)"
    )
    items_topic: str = Field("shop.items", description="what the shop sells, its catalogue (compacted)")
    statistics_topic: str = Field(
        "shop.statistics", description="what is known of items from the stream, as it comes (compacted)"
    )
    signals_topic: str = Field(
        "", description="what silence says of users: a visit has ended, a cart is left; empty: nothing is told"
    )
    audiences_topic: str = Field("shop.audiences", description="audiences of which signals tell (compacted)")
    instance_id: str = Field(
        "",
        description="name of this worker in its group, unique and the same after a restart: a restart within the "
        "session timeout then moves no partitions (static membership); empty: a new member every time",
    )
    standby_replicas: int = Field(
        0, ge=0, description="workers that follow a partition's state, beside the one that answers its events"
    )
    partitions: int = Field(
        8, ge=1, description="partitions of the events, predictions, dead letters, changelog and joins topics"
    )
    replication: int = Field(
        0, ge=0, description="replicas of topics that are created; 0: as many as there are brokers, up to 3"
    )
    joins: bool = Field(True, description="have what an anonymous user did become the beginning of who they are")
    create_topics: bool = Field(
        True, description="make topics that are missing; false: never, as somebody else makes them"
    )
    stream_epoch: int = Field(
        1,
        ge=0,
        lt=2**32,
        description="number to raise when the events topic was created again, as its old offsets mean nothing then",
    )
    session_timeout: float = Field(
        10.0, gt=0, description="seconds without a heartbeat after which a worker's partitions go to the others"
    )

    compression: Compression = Field(
        "none", description="codec of what is written: none, lz4, zstd, gzip or snappy; all of them are read"
    )
    write_format: WriteFormat = Field(
        "current",
        description="format of user records, history and versions that are written: current, or previous, until no "
        "process of the version before runs any more",
    )
    delivery: Literal["at-least-once", "exactly-once"] = Field(
        "at-least-once",
        description="at-least-once, or exactly-once (with transactions) for subscribers that read committed records",
    )

    @property
    def uses_tls(self) -> bool:
        """Whether connections to Kafka are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether clients name themselves to Kafka by a mechanism of SASL."""
        return self.security_protocol.startswith("SASL")

    def unsecured(self, **changes: Any) -> Self:
        """Returns the settings for a broker of our own that asks for no security, with other changes."""
        fields = type(self).model_fields.items()
        return self.model_copy(
            update={name: field.default for name, field in fields if name.startswith(_OF_SECURITY)} | changes
        )

    @model_validator(mode="after")
    def _security_fits(self) -> Self:
        names = [name for name in type(self).model_fields if name.startswith(_OF_SECURITY)]
        given = {name for name in names if _given(self, name)}
        if problem := connection_problem(self.security_protocol, self.sasl_mechanism, given):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        topics = [getattr(self, name) for name in type(self).model_fields if name.endswith("_topic")]
        names = [name for name in topics if name]
        if len(set(names)) < len(names):
            raise ValueError(f"the topics must have different names, not {', '.join(names)}")
        return self


def _given(settings: KafkaSettings, name: str) -> bool:
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return bool(value.get_secret_value())
    return bool(value != type(settings).model_fields[name].default)
