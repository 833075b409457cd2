"""What deploy/ says of nextact is true: settings, commands, topics, versions, files. Its metrics: test_monitoring."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from prometheus_client import CollectorRegistry

from stream_app.cli.main import cli
from stream_app.contract.access import acl_lines
from stream_app.contract.topics import topics
from stream_app.http_server import HttpServer
from stream_app.sandbox.ports import HOST
from stream_app.sandbox.runtime import KAFKA_VERSION
from stream_app.settings import PREFIX, Settings
from tests.paths import ROOT
from tests.skips import not_installed
from tests.unit.builders.access_tables import access_rows
from tests.unit.builders.commands import check_command

DEPLOY = ROOT / "deploy"
DEFAULTS = Settings.model_construct()  # not from the environment
SIGNALLING = DEFAULTS.model_copy(update={"signals_topic": "shop.signals"})
LATEST = DEFAULTS.model_copy(update={"predictions_latest_topic": "shop.predictions.latest"})
PROFILES = DEFAULTS.model_copy(update={"profile_topic": "shop.profiles"})


def read_yaml(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def files() -> list[Path]:
    return sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def env() -> dict[str, str]:
    lines = (DEPLOY / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def image_env() -> dict[str, str]:
    return dict(re.findall(r"\b([A-Z_]+)=(\S+)", dockerfile().partition("\nENV PATH=/opt/nextact/bin:$PATH \\\n")[2]))


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def services() -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = read_yaml("compose.yaml")["services"]
    return sections


def own_services() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services().items() if "build" in service}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_variables_are_settings_and_topics_are_those_of_the_contract(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert {
        name.lower().removesuffix("_file") for name in re.findall(rf"\b{PREFIX}([A-Z_]+)", text)
    } <= Settings.model_fields.keys()
    assert set(re.findall(r"(?<![\w.])shop\.[a-z.-]*[a-z]", text)) <= {
        spec.name for settings in (SIGNALLING, LATEST, PROFILES) for spec in topics(settings)
    }


def test_partitions_and_configuration_are_those_of_the_contract() -> None:
    specs = {spec.name: spec for spec in topics(DEFAULTS)}
    channels = read_yaml("contract/asyncapi.yaml")["channels"].values()
    assert len(channels) == 4
    for channel in channels:
        binding = channel["bindings"]["kafka"]
        spec = specs[channel["address"]]
        assert (binding["topic"], binding["partitions"]) == (spec.name, spec.partitions)
        config = {
            key: ",".join(value) if isinstance(value, list) else str(value)
            for key, value in binding.get("topicConfiguration", {}).items()
        }
        assert config == spec.config


def test_services_use_commands_that_exist() -> None:
    assert own_services().keys() == {"topics", "worker", "trainer"}
    for service in own_services().values():
        name, *options = service["command"]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        command.make_context(name, options).close()
    assert json.loads(re.findall(r"^CMD (.*)$", dockerfile(), re.M)[0])[0] in cli.commands


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_commands_that_are_named_exist(path: Path) -> None:
    for words in re.findall(r"`nextact ([^`]+)`", path.read_text(encoding="utf-8")):
        check_command(words)


def test_signals_reach_the_process() -> None:
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", dockerfile(), re.M)[0]) == ["nextact"]
    assert all(service["init"] for service in own_services().values())


def test_prometheus_finds_the_services() -> None:
    port = int(image_env()[f"{PREFIX}HTTP_PORT"])
    for job in read_yaml("prometheus/prometheus.yml")["scrape_configs"]:
        for discovery in job.get("dns_sd_configs", ()):
            assert (discovery["names"][0], discovery["port"]) in [(name, port) for name in own_services()]
            assert services()[discovery["names"][0]]["expose"] == [str(port)]


def test_workers_scale() -> None:
    assert "ports" not in services()["worker"]
    assert "container_name" not in services()["worker"]


def test_workers_and_trainer_share_the_registry() -> None:
    path = image_env()[f"{PREFIX}REGISTRY"]
    mounted = {name: service["volumes"][0] for name, service in own_services().items()}
    assert mounted == {"topics": f"models:{path}", "worker": f"models:{path}:ro", "trainer": f"models:{path}"}


def test_the_history_outlives_the_trainer() -> None:
    path = image_env()[f"{PREFIX}HISTORY"]
    assert f"history:{path}" in services()["trainer"]["volumes"]


def test_the_local_stores_of_workers_outlive_them() -> None:
    path = image_env()[f"{PREFIX}DATA_DIR"]
    assert f"states:{path}" in services()["worker"]["volumes"]
    (made,) = re.findall(r"install --directory --owner=nextact --group=nextact ((?:\\\n|.)*)", dockerfile())
    assert {path, *(image_env()[f"{PREFIX}{name}"] for name in ("REGISTRY", "HISTORY"))} <= set(made.split())
    named = {mount.split(":")[0] for service in services().values() for mount in service.get("volumes", ())}
    assert {name for name in named if not name.startswith(".")} == read_yaml("compose.yaml")["volumes"].keys()


def test_versions_are_pinned_in_env_alone() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in files() if path.suffix != ".json"}
    for path in (DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml", DEPLOY / "Dockerfile"):
        assert not re.findall(r"(?<![\d.])\d+\.\d+(?:\.\d+)?(?![\d.])", texts[path]), path
    for service in services().values():
        assert re.fullmatch(r"[\w./-]+:v?\$\{[A-Z]+_VERSION\}(-\$\{TORCH\})?", service["image"]), service["image"]
    for base in re.findall(r"^FROM (\S+)", dockerfile(), re.M):
        assert base == "python:${PYTHON_VERSION}-slim-${DEBIAN_RELEASE}"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", value) for name, value in env().items() if name.endswith("_VERSION"))


def test_variables_of_compose_are_those_of_env() -> None:
    text = "".join((DEPLOY / name).read_text(encoding="utf-8") for name in ("compose.yaml", "compose.gpu.yaml"))
    assert set(re.findall(r"\$\{(\w+)", text)) == env().keys()
    asked = set(re.findall(r"^ARG (\w+)", dockerfile(), re.M))
    assert services()["worker"]["build"]["args"].keys() == asked


def test_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    torch = next(each for each in map(Requirement, project["dependencies"]) if each.name == "torch")
    assert env()["TORCH_VERSION"] in torch.specifier
    assert env()["PYTHON_VERSION"] in SpecifierSet(project["requires-python"])
    assert env()["IMAGE_VERSION"] == project["version"]
    assert env()["KAFKA_VERSION"] == KAFKA_VERSION


def runtime_stage() -> str:
    """The Dockerfile's last stage: what is in the image."""
    return dockerfile().rpartition("\nFROM ")[2]


def test_the_image_for_gpus_has_what_triton_compiles_with() -> None:
    """Triton builds a launcher for each kernel with a C compiler, when a worker or a round of training runs it first:
    `triton/runtime/build.py`. gcc only recommends the C library's headers."""
    (packages,) = re.findall(r"^apt-get install --yes --no-install-recommends (.*)$", runtime_stage(), re.M)
    assert {"gcc", "libc6-dev"} <= set(packages.split())
    (check,) = re.findall(r'^RUN \[ "\$TORCH" != cuda \] \|\| \S+ /opt/nextact/(\S+)$', runtime_stage(), re.M)
    assert (DEPLOY / check).is_file(), "fails the build of an image in which Triton could not compile"
    assert "\nARG TORCH=" in runtime_stage(), "an argument ends with its stage"
    made = runtime_stage().partition("install --directory")[2].partition("COPY")[0].split()
    assert f"{image_env()[f'{PREFIX}CACHE_DIR']}/triton" in made, "its owner may write there"


def test_what_is_compiled_is_in_the_image() -> None:
    """By the user who runs it, where a worker looks for it, behind all that it is made of."""
    before, compiles, _ = runtime_stage().partition("\nRUN nextact compile\n")
    assert compiles
    for line in ("COPY --from=build /opt/nextact", "USER 10001:10001", f"{PREFIX}CACHE_DIR=", f"{PREFIX}DATA_DIR="):
        assert line in before
    made = before.partition("install --directory")[2].partition("COPY")[0].split()
    assert image_env()[f"{PREFIX}CACHE_DIR"] in made, "its owner may write there"
    mounts = [mount for service in own_services().values() for mount in service.get("volumes", ())]
    assert not [mount for mount in mounts if image_env()[f"{PREFIX}CACHE_DIR"] in mount], "a volume would hide it"


def check_compiler(tmp_path: Path, path: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("triton", reason=not_installed("triton"))
    variables = {"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(DEPLOY / "check_compiler.py")]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_an_image_in_which_triton_cannot_compile_is_not_built(tmp_path: Path) -> None:
    done = check_compiler(tmp_path, "")
    assert done.returncode == 1
    assert "Failed to find C compiler" in done.stderr


def test_an_image_in_which_triton_can_compile_is_built(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip(not_installed("gcc"))
    done = check_compiler(tmp_path, os.environ["PATH"])
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [], "Triton's own cache stays empty"


@pytest.mark.parametrize("extras", ["", "s3", "s3,gcs,azure,msk"])
def test_the_image_installs_the_dependencies_and_the_extras_that_are_asked_for(
    extras: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (script,) = re.findall(r"^python -c '\n(.*?)\n' \"\$EXTRAS\" > ", dockerfile(), re.M | re.S)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["-c", extras])
    exec(script, {})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [each for name in extras.split(",") if name for each in project["optional-dependencies"][name]]
    assert capsys.readouterr().out.splitlines() == [*project["dependencies"], *wanted]


def test_files_that_are_mounted_or_copied_exist() -> None:
    for service in services().values():
        for mount in service.get("volumes", ()):
            if mount.startswith("."):
                assert (DEPLOY / mount.split(":")[0]).is_dir(), mount
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    copied = {
        name for line in re.findall(r"^COPY ([^-\n]\S*(?: \S+)*) \S+$", dockerfile(), re.M) for name in line.split()
    }
    assert copied > set(packages)
    sent = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == sent  # to the builder
    assert all((ROOT / name).exists() for name in copied)


async def probe(path: str, port: int) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DEPLOY / "probe.py"), path),
        env={f"{PREFIX}HTTP_PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def probed_paths() -> set[str]:
    tests = [service["healthcheck"].get("test") for service in own_services().values() if "healthcheck" in service]
    image = json.loads(dockerfile().partition("HEALTHCHECK")[2].partition("CMD ")[2].splitlines()[0])
    assert all(test[-2] == image[-2] for test in tests if test)
    return {image[-1], *(test[-1] for test in tests if test)}


def test_probes_tell_alive_from_ready() -> None:
    async def ask() -> None:
        reasons: list[str | None] = ["recovering"]
        server = HttpServer(CollectorRegistry(), lambda: reasons[-1])
        port = await server.start(HOST, 0)
        assert await probe("/healthz", port) == (0, "alive\n")
        assert await probe("/readyz", port) == (1, "503 recovering\n\n")
        reasons.append(None)
        assert await probe("/readyz", port) == (0, "ready\n")
        await server.stop()
        code, said = await probe("/healthz", port)
        assert code == 1
        assert "Traceback" not in said

    assert probed_paths() == {"/healthz", "/readyz"}
    asyncio.run(ask())


def test_the_rights_of_the_roles_are_those_of_the_code() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    exactly_once = DEFAULTS.model_copy(update={"delivery": "exactly-once"})
    parts = re.split(r"^With `NEXTACT_[A-Z_]+=[a-z.-]+` also.*:$", text.partition("## Rights on Kafka")[2], flags=re.M)
    found = [re.findall(r"^\| [a-z]+ \| [A-Z].*\|$", part, re.M) for part in parts]
    rows, more_rows, signal_rows, latest_rows, profile_rows = found
    assert rows == access_rows(DEFAULTS)
    assert sorted(rows + more_rows) == sorted(access_rows(exactly_once))
    assert sorted(rows + signal_rows) == sorted(access_rows(SIGNALLING))
    assert sorted(rows + latest_rows) == sorted(access_rows(LATEST))
    assert sorted(rows + profile_rows) == sorted(access_rows(PROFILES))
    lines, more_lines = text.partition("KAFKA=")[2].partition("```")[0].split("# with NEXTACT_DELIVERY=exactly-once")
    assert re.findall(r"^kafka-acls.*$", lines, re.M) == acl_lines(DEFAULTS)
    assert sorted(re.findall(r"^kafka-acls.*$", lines + more_lines, re.M)) == sorted(acl_lines(exactly_once))
