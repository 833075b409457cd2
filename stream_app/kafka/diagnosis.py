"""Why there is no connection to Kafka: aiokafka only says that there is none, so the failed step is looked for.

Only after a failure: a connection is made once more, step by step, and then in the other ways in which the port may
speak.

What this leans on in aiokafka: `conn.AIOKafkaConnection.connect` raises what went wrong, where a client only says that
something did, and its `_protocol` is None until it is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    SettingsInvalid,
    TlsRefused,
    UsageError,
    WrongProtocol,
)
from stream_app.kafka.oauth import TokenMissing
from stream_app.kafka.security import security_options, ssl_context
from stream_app.settings import Settings

_STEP_MS: Final = 5000  # milliseconds that each step may take
_CLOSE_S: Final = 1.0  # seconds that a connection has to close
_UNTRUSTED: Final = {18, 19, 20, 21, 27}  # OpenSSL's X509_V_ERR_*: the chain does not end at a trusted certificate
_EXPIRED, _NOT_YET = 10, 9
_OTHER_HOST: Final = {62, 64}  # another name, another address
_OWN: Final = "NEXTACT_SSL_CERTFILE and NEXTACT_SSL_KEYFILE"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps aiokafka's complaints about connections out of the log, where ours says more."""
    loggers = [logging.getLogger(name) for name in ("aiokafka", "aiokafka.conn")]  # of its clients, of connections
    for logger in loggers:
        logger.addFilter(_nothing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


async def diagnose(settings: Settings, error: Exception) -> UsageError:
    """Returns the error that says why a connection by these settings has failed with `error`, and the way out."""
    try:
        hosts = collect_hosts(settings.brokers, randomize=False)
    except ValueError:
        return SettingsInvalid(f"NEXTACT_BROKERS is {settings.brokers!r}: give host:port, with commas between several")
    with quiet():
        unreachable = []
        for host, port, _ in hosts:
            problem = await _problem_at(settings, host, port)
            if not isinstance(problem, BrokerUnreachable):
                return problem or await _problem_behind(settings, host, port) or _unknown(settings, error)
            unreachable.append(str(problem))
    return BrokerUnreachable(
        f"no Kafka broker answers at {settings.brokers}: {'; '.join(unreachable)}. Start one, or give the address of "
        "yours with --brokers or NEXTACT_BROKERS; `nextact broker` starts one here"
    )


def _unknown(settings: Settings, error: Exception) -> UsageError:
    """The error when all is well now: it has passed, or is of a kind that is not looked for."""
    return UsageError(f"Kafka at {settings.brokers} answers now, but failed before: {error!r}; try again")


async def _problem_behind(settings: Settings, host: str, port: int) -> UsageError | None:
    """Returns what is wrong with the addresses that a broker names for itself and the others; None: nothing."""
    connection = await _connected(settings, host, port)
    try:
        brokers = (await connection.send(MetadataRequest([]))).brokers
    finally:
        await _closed(connection)
    for _id, name, number, *_ in brokers:
        problem = await _problem_at(settings, name, number)
        if isinstance(problem, BrokerUnreachable):
            return BrokerUnreachable(
                f"the Kafka broker at {host}:{port} answers, but sends its clients to {name}:{number}: {problem}. Its "
                "advertised.listeners must be addresses that this machine reaches"
            )
        if problem is not None:
            return problem
    return None


async def _problem_at(settings: Settings, host: str, port: int) -> UsageError | None:
    """Returns what is wrong with a connection to a broker; None: nothing. `BrokerUnreachable` has the bare reason."""
    where = f"{host}:{port}"
    try:
        connection = await _connected(settings, host, port)
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        return await _explained(settings, host, port, error)
    try:
        await connection.send(MetadataRequest([]))
    except (KafkaError, OSError, TimeoutError) as error:
        if (refusal := _certificate_refusal(settings, where, error)) is not None:
            return refusal
        if not settings.uses_sasl and (mechanisms := await _mechanisms(settings, host, port)):
            secure = "SASL_SSL" if settings.uses_tls else "SASL_PLAINTEXT"
            return WrongProtocol(
                f"the Kafka broker at {where} asks for SASL ({', '.join(mechanisms)}): set "
                f"NEXTACT_SECURITY_PROTOCOL={secure}, NEXTACT_SASL_MECHANISM, and a user and password or token"
            )
        return BrokerUnreachable(f"{where} ends the connection ({_said(error)})")
    finally:
        await _closed(connection)
    return None


async def _explained(settings: Settings, host: str, port: int, error: Exception) -> UsageError:
    """Returns the error for a connection that could not be made."""
    where = f"{host}:{port}"
    match error:
        case TokenMissing():
            return AuthenticationFailed(
                f"not authenticated at Kafka ({where}): {_said(error)}; see NEXTACT_SASL_OAUTH_*"
            )
        case SaslAuthenticationFailed():
            return AuthenticationFailed(
                f"not authenticated at Kafka ({where}) by {settings.sasl_mechanism}"
                f"{_as_user(settings)}: {_said(error)}; see NEXTACT_SASL_MECHANISM and "
                f"{'NEXTACT_SASL_OAUTH_*' if settings.sasl_mechanism == 'OAUTHBEARER' else 'user and password'}"
            )
        case UnsupportedSaslMechanismError():
            offered = ", ".join(await _mechanisms(settings, host, port)) or "others"
            return AuthenticationFailed(
                f"not authenticated at Kafka ({where}): it does not take {settings.sasl_mechanism} but {offered}; set "
                "NEXTACT_SASL_MECHANISM"
            )
        case IllegalSaslStateError():
            plain = "SSL" if settings.uses_tls else "PLAINTEXT"
            return WrongProtocol(
                f"the Kafka broker at {where} does not use SASL: set NEXTACT_SECURITY_PROTOCOL={plain}, or give the "
                "address of its other listener"
            )
        case socket.gaierror():
            return BrokerUnreachable(f"the name {host} is not known ({error.strerror})")
        case ssl.SSLCertVerificationError():
            return _untrusted(settings, host, port, error)
        case ConnectionRefusedError():
            return BrokerUnreachable(f"{where} refuses connections")
    alert = await _alert(settings, host, port) if settings.uses_tls else None
    if (refusal := _certificate_refusal(settings, where, alert or error)) is not None:
        return refusal
    if not await _listens(host, port):
        return BrokerUnreachable(f"{where} does not answer ({_said(error)})")
    return await _otherwise(settings, host, port, error)


async def _otherwise(settings: Settings, host: str, port: int, error: Exception) -> UsageError:
    """Returns the error for a port that can be reached but does not speak as it should: what else it speaks."""
    where = f"{host}:{port}"
    if not settings.uses_tls and await _speaks_tls(host, port):
        secure = "SASL_SSL" if settings.uses_sasl else "SSL"
        return WrongProtocol(
            f"{where} speaks TLS, and this client does not: set NEXTACT_SECURITY_PROTOCOL={secure}, or give the "
            "address of a listener without TLS"
        )
    if settings.uses_tls and await _speaks_plaintext(settings, host, port):
        plain = "SASL_PLAINTEXT" if settings.uses_sasl else "PLAINTEXT"
        return WrongProtocol(
            f"the Kafka broker at {where} does not speak TLS: set NEXTACT_SECURITY_PROTOCOL={plain}, or give the "
            "address of its listener with TLS"
        )
    if isinstance(error, ssl.SSLError):
        return TlsRefused(f"TLS to {where} failed: {_said(error)}; see whether a Kafka broker listens there with TLS")
    return WrongProtocol(
        f"something answers at {where}, but not as a Kafka broker does ({_said(error)}): see NEXTACT_BROKERS"
    )


def _untrusted(settings: Settings, host: str, port: int, error: ssl.SSLCertVerificationError) -> TlsRefused:
    """Returns the error for a broker's certificate that this client does not accept."""
    broker = f"TLS to {host}:{port} refused: the broker's certificate"
    if error.verify_code in _UNTRUSTED:
        trusted = settings.ssl_cafile or "the system's authorities"
        return TlsRefused(
            f"{broker} is not from an authority that is trusted ({trusted}): give the file of its authority with "
            "NEXTACT_SSL_CAFILE"
        )
    if error.verify_code in (_EXPIRED, _NOT_YET):
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return TlsRefused(f"{broker} {when}: renew it, or see whether this machine's clock is right")
    if error.verify_code in _OTHER_HOST:
        return TlsRefused(
            f"{broker} is not for the host {host}: use an address that it names, or set "
            "NEXTACT_SSL_CHECK_HOSTNAME=false where nobody can come between"
        )
    return TlsRefused(f"{broker} is not accepted: {error.verify_message}; see NEXTACT_SSL_CAFILE")


def _certificate_refusal(settings: Settings, where: str, error: BaseException) -> TlsRefused | None:
    """Returns the error for a broker that ended TLS with an alert: it wants another certificate of the client."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None or "ALERT" not in (cause.reason or ""):
        return None
    alert = str(cause.reason).partition("ALERT_")[2].replace("_", " ").lower()
    if not settings.ssl_certfile:
        return TlsRefused(
            f"TLS to {where} refused by the broker ({alert}): it asks for a certificate of the client; give {_OWN}"
        )
    return TlsRefused(
        f"TLS to {where} refused by the broker ({alert}): it does not accept the certificate "
        f"{settings.ssl_certfile}; see {_OWN}, and which authorities the broker trusts"
    )


def _as_user(settings: Settings) -> str:
    return f" as {settings.sasl_username!r}" if settings.sasl_username else ""


def _said(error: BaseException) -> str:
    """Returns what an error says, in one line, without the name of its class."""
    text = error.args[0] if isinstance(error, KafkaError) and error.args else str(error)
    return " ".join(str(text or type(error).__name__).split())


async def _connected(settings: Settings, host: str, port: int, **changes: Any) -> AIOKafkaConnection:
    """Connects to a broker as clients do, with other options. Raises what goes wrong."""
    options = security_options(settings) | changes
    connection = AIOKafkaConnection(host, port, client_id="nextact-diagnosis", request_timeout_ms=_STEP_MS, **options)
    try:
        await connection.connect()
    except BaseException:
        await _closed(connection)
        raise
    return connection


async def _closed(connection: AIOKafkaConnection) -> None:
    """Closes a connection and waits until it is closed, so that nothing of it is left when the process ends."""
    closed = connection.close()
    if closed is not None and connection._protocol is not None:
        await asyncio.wait([closed], timeout=_CLOSE_S)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_STEP_MS / 1000):
            _, writer = await asyncio.open_connection(host, port)
        await _end(writer)
    except OSError:
        return False
    return True


async def _alert(settings: Settings, host: str, port: int) -> ssl.SSLError | None:
    """Returns what a broker says against TLS when nothing is sent to it, which could lose that; None: nothing."""
    try:
        async with asyncio.timeout(_STEP_MS / 1000):
            reader, writer = await asyncio.open_connection(host, port, ssl=ssl_context(settings))
            try:
                await reader.read(1)
            finally:
                await _end(writer)
    except ssl.SSLError as error:
        return error
    except OSError:
        return None
    return None


async def _speaks_tls(host: str, port: int) -> bool:
    """Tells whether a port takes the first steps of TLS; whose certificate it shows does not matter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_STEP_MS / 1000):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        await _end(writer)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it ends TLS as TLS wants it
    except OSError:
        return False
    return True


async def _speaks_plaintext(settings: Settings, host: str, port: int) -> bool:
    """Tells whether a Kafka broker answers without TLS; that it then asks for a name does not matter."""
    try:
        connection = await _connected(settings, host, port, security_protocol="PLAINTEXT")
    except (KafkaError, OSError, TimeoutError, ValueError):
        return False
    await _closed(connection)
    return True


async def _mechanisms(settings: Settings, host: str, port: int) -> list[str]:
    """Returns the mechanisms of SASL that a listener offers; none where it does not use SASL."""
    protocol = "SSL" if settings.uses_tls else "PLAINTEXT"
    try:
        connection = await _connected(settings, host, port, security_protocol=protocol)
        try:
            answer = await connection.send(SaslHandShakeRequest("NONE"))
        finally:
            await _closed(connection)
    except (KafkaError, OSError, TimeoutError, ValueError):
        return []
    return sorted(answer.enabled_mechanisms)
