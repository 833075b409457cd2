"""Reads variables of the environment beside pydantic's own way: values that lie in files, names that mean nothing,
and those of a connection to Kafka that do not fit each other.

`NEXTACT_X_FILE` names a file that holds the value of setting X, as Docker's and Kubernetes' secrets are files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from stream_app.errors import SettingsInvalid

PREFIX: Final = "NEXTACT_"
FILE: Final = "_FILE"  # behind the name of a variable: the value is in the file that it names
_OF_PASSWORD: Final = ("sasl_username", "sasl_password")
_OF_TOKEN_SERVER: Final = ("sasl_oauth_token_url", "sasl_oauth_client_id", "sasl_oauth_client_secret")
_LARGEST: Final = 64 * 1024  # bytes of a file that holds a value
# What Kubernetes sets in every container for a Service whose name begins with "nextact".
_SERVICE: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")


class UnknownVariable(NamedTuple):
    """A variable that looks like a setting and is none."""

    name: str
    nearest: str | None  # the variable that may have been meant

    def __str__(self) -> str:
        advice = f"did you mean {self.nearest}?" if self.nearest else "`nextact doctor` shows all settings"
        return f"{self.name} is not a setting: {advice}"


class FilesSource(PydanticBaseSettingsSource):
    """Reads settings from the files that variables `NEXTACT_X_FILE` name."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._environment = {name.upper(): (name, value) for name, value in environment.items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Returns the value of a setting (None: it has no file), its name, and that the value needs no decoding.

        Raises `SettingsInvalid` when the file cannot be read or the value is given in another way, too.
        """
        variable = variable_of(field_name)
        name, path = self._environment.get(variable + FILE, ("", ""))
        if not name:
            return None, field_name, False
        if variable in self._environment:
            raise SettingsInvalid(f"both {variable} and {name} are given: give one of them")
        return _content(name, path), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Returns the settings that have files. Raises `SettingsInvalid`."""
        fields = self.settings_cls.model_fields
        values = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def variable_of(setting: str) -> str:
    """Returns the variable of a setting."""
    return f"{PREFIX}{setting.upper()}"


def unknown_variables(environment: Iterable[str], settings: Iterable[str]) -> list[UnknownVariable]:
    """Returns the variables that begin as a setting's do, and are none of `settings` (by field name)."""
    names = sorted({name for name in environment if name.upper().startswith(PREFIX)})
    variables = [variable_of(setting) for setting in settings]
    known = {*variables, *(variable + FILE for variable in variables)}
    services = {name.upper().removesuffix("_SERVICE_HOST") for name in names if name.upper().endswith("_SERVICE_HOST")}
    unknown = [name for name in names if name.upper() not in known and not _of_a_service(name.upper(), services)]
    return [UnknownVariable(name, _nearest(name, variables)) for name in unknown]


def connection_problem(protocol: str, mechanism: str, given: set[str]) -> str:
    """Says which of the settings of a connection is missing, or has no meaning beside the others; empty: none.

    `given`: names of the fields that are given.
    """
    if not protocol.endswith("SSL") and (files := sorted(given & {"ssl_cafile", "ssl_certfile", "ssl_keyfile"})):
        return f"{variable_of(files[0])} is given, but NEXTACT_SECURITY_PROTOCOL is {protocol}: give SSL or SASL_SSL"
    uses_sasl = protocol.startswith("SASL")
    if not uses_sasl and (names := sorted(name for name in given if name.startswith("sasl_"))):
        return (
            f"{variable_of(names[0])} is given, but NEXTACT_SECURITY_PROTOCOL is {protocol}: give SASL_SSL or "
            "SASL_PLAINTEXT"
        )
    if "ssl_certfile" not in given and (names := sorted(given & {"ssl_keyfile", "ssl_password"})):
        return f"{variable_of(names[0])} is given without NEXTACT_SSL_CERTFILE, the certificate that it belongs to"
    return _mechanism_problem(mechanism, given) if uses_sasl else ""


def _mechanism_problem(mechanism: str, given: set[str]) -> str:
    """Says which of the settings of a mechanism is missing, or belongs to another one; empty: none."""
    strange: set[str]
    needed: tuple[str, ...]
    if mechanism != "OAUTHBEARER":
        needed, strange = _OF_PASSWORD, {name for name in given if name.startswith("sasl_oauth_")}
    elif "sasl_oauth_provider" in given:
        needed, strange = (), given & {*_OF_PASSWORD, *_OF_TOKEN_SERVER, "sasl_oauth_scope"}
    else:
        needed, strange = _OF_TOKEN_SERVER, given & set(_OF_PASSWORD)
    if strange:
        beside = f"NEXTACT_SASL_MECHANISM {mechanism}"
        if "sasl_oauth_provider" in given and mechanism == "OAUTHBEARER":
            beside = "NEXTACT_SASL_OAUTH_PROVIDER"
        return f"{variable_of(min(strange))} has no meaning beside {beside}: take one of them away"
    if missing := [variable_of(name) for name in needed if name not in given]:
        instead = ", or NEXTACT_SASL_OAUTH_PROVIDER" if needed == _OF_TOKEN_SERVER else ""
        return f"NEXTACT_SASL_MECHANISM {mechanism} needs {' and '.join(missing)}{instead}"
    return ""


def _of_a_service(variable: str, services: Iterable[str]) -> bool:
    return any(_SERVICE.fullmatch(variable.removeprefix(service)) for service in services)


def _nearest(name: str, variables: list[str]) -> str | None:
    suffix = FILE if name.upper().endswith(FILE) else ""
    names = [variable.removeprefix(PREFIX) for variable in variables]  # without what all have in common
    near = get_close_matches(name.upper().removeprefix(PREFIX).removesuffix(FILE), names, n=1)
    return PREFIX + near[0] + suffix if near else None


def _content(variable: str, path: str) -> str:
    """Returns the text of a file without the line break at its end. Raises `SettingsInvalid`, which never quotes it."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise SettingsInvalid(f"the file {path!r} of {variable} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL
        raise SettingsInvalid(f"the file {path!r} of {variable} cannot be read: {error}") from error
    if len(content) > _LARGEST:
        raise SettingsInvalid(f"the file {path!r} of {variable} has more than {_LARGEST:,} bytes: is it the right one?")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsInvalid(f"the file {path!r} of {variable} is not text in UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
