"""Where a worker answers questions, as the other workers of its group hear of it.

Faust's assignor spreads one URL per worker, and tells by these URLs who owns which partition. So the URL of each worker
is its own: it carries the worker's name, which for a static member is the same after a restart, though the address may
be another one by then.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from yarl import URL

from stream_app.errors import UsageError
from stream_app.settings import Settings

_ANYWHERE: Final = {
    "0.0.0.0": "127.0.0.1",
    "::": "::1",
}  # listeners on all addresses, and how this machine reaches them
_MACHINE_FILES: Final = ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/net")  # of Linux: the start, the network


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """Where a worker answers questions."""

    url: str  # for workers on other machines, without a slash at its end
    worker: str  # its name, unique in the group
    machine: str = ""  # whose loopback address it can be asked at; empty: its address was given, and holds for all
    listens: str = ""  # the address on that machine that it listens on

    def spread(self) -> URL:
        """Returns the URL that the group hears of."""
        of_machine = {"machine": self.machine, "listens": self.listens} if self.machine else {}
        return URL(f"{self.url}/", encoded=True).with_query({"worker": self.worker, **of_machine})

    @classmethod
    def read(cls, spread: str) -> Self | None:
        """Reads what the group heard of; None: of a worker that answers no questions, or an older one."""
        try:
            url = URL(spread)
            query = url.query
            if url.scheme not in ("http", "https") or not (url.host and query.get("worker")):
                return None
        except ValueError:
            return None
        bare = str(url.with_query(None).with_fragment(None)).rstrip("/")
        return cls(bare, query["worker"], query.get("machine", ""), query.get("listens", ""))

    def asked_from(self, machine: str) -> str | None:
        """Returns the URL at which a process on a machine reaches it; None: from there nobody can."""
        if not self.machine:
            return self.url
        if self.machine == machine:
            host = _ANYWHERE.get(self.listens, self.listens)
            return str(URL(self.url).with_host(host))
        return None if is_loopback(self.listens) else self.url


def own_address(settings: Settings, port: int, worker: str, machine: str) -> WorkerAddress:
    """Returns the address of this process, whose listener has this port. Raises `UsageError`."""
    if settings.advertised:
        return WorkerAddress(_advertised(settings.advertised, port), worker)
    listens = settings.api_host
    host = host_address(settings.brokers) if listens in _ANYWHERE or is_loopback(listens) else listens
    return WorkerAddress(str(URL.build(scheme="http", host=host, port=port)), worker, machine, listens)


def is_spread(settings: Settings) -> bool:
    """Returns whether the group hears of this worker's address.

    A worker of the version before, which may take this one's place back under its name, ends where it is given another
    address than its own: the one that Faust makes of the host's name.
    """
    return not settings.instance_id or settings.write_format != "previous"


def _advertised(text: str, port: int) -> str:
    try:
        url = URL(text) if "://" in text else URL(f"http://{text}")
        if url.scheme in ("http", "https") and url.host and not (url.query_string or url.fragment or url.user):
            return str(url if "://" in text or url.explicit_port else url.with_port(port)).rstrip("/")
    except ValueError:
        pass
    raise UsageError(
        f"NEXTACT_ADVERTISED is {text!r}, but should be the address at which the other workers reach this one: a host, "
        "host:port, or a URL such as http://host:port"
    )


def is_loopback(host: str) -> bool:
    """Returns whether only processes on the same machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_address(brokers: str) -> str:
    """Returns the address of this host on the way to its brokers; its name where no way is known."""
    host, _, port = brokers.split(",")[0].strip().rpartition(":")
    with suppress(OSError, ValueError):
        for family, kind, _, _, address in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM):
            with socket.socket(family, kind) as way:
                way.connect(address)  # which sends nothing
                return str(way.getsockname()[0])
    return socket.gethostname()


def this_machine() -> str:
    """Returns a name of what shares a loopback address with this process: a machine, a container or a pod."""
    parts = [socket.gethostname()]
    for file in map(Path, _MACHINE_FILES):
        with suppress(OSError):
            parts.append(str(file.readlink()) if file.is_symlink() else file.read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
