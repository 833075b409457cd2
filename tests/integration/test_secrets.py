"""No command shows a secret, however it fails and however much it logs."""

from __future__ import annotations

import pytest

from stream_app.sandbox.ports import HOST, free_port
from stream_app.settings import PREFIX, Settings
from tests.integration.forked import start
from tests.integration.running import environment

pytestmark = pytest.mark.broker

SECRET = "hunter2"


def variables_of(settings: Settings, command: tuple[str, ...], others: dict[str, str]) -> dict[str, str]:
    merged = {**environment(settings, command), **others}
    return {name: value for name, value in merged.items() if f"{name}_FILE" not in others}


def test_commands_that_fail_show_no_secret(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = tmp_path_factory.mktemp("secrets")
    (files / "password").write_text(f"{SECRET}-password\n")
    address = f"{HOST}:{free_port()}"
    addresses = {
        f"{PREFIX}REGISTRY": f"ftp://user:{SECRET}/x@{address}/models?sig={SECRET}-signature",
        f"{PREFIX}HISTORY": f"ftp://user:{SECRET}@{address}/history",
        f"{PREFIX}LOG_LEVEL": "debug",
    }
    password = {
        f"{PREFIX}SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        f"{PREFIX}SASL_MECHANISM": "PLAIN",
        f"{PREFIX}SASL_USERNAME": "nextact",
        f"{PREFIX}SASL_PASSWORD_FILE": str(files / "password"),
    }
    commands = [
        (("topics",), addresses, 0),
        (("doctor",), addresses, 1),
        (("models", "list"), addresses, 2),
        (("history", "list"), addresses, 2),
        (("trainer", "--once"), addresses, 2),
        (("worker",), {**addresses, **password}, 2),  # the broker knows no SASL
        (("doctor",), {**addresses, **password, f"{PREFIX}PARTITIONS": f"s3://k:{SECRET}@b"}, 2),
    ]
    running = []
    for number, (command, variables, _) in enumerate(commands):
        log = files / f"{number}.log"
        running.append(start("stream_app", command, variables_of(settings, command, variables), stdout=log, stderr=log))
    for number, (process, (command, _, code)) in enumerate(zip(running, commands, strict=True)):
        process.join(90)
        process.kill()
        process.join()
        said = (files / f"{number}.log").read_text()
        assert SECRET not in said, command
        assert process.exitcode == code, (command, said)
