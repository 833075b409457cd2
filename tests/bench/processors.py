"""Processor time of process trees, and of this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

import psutil


class Processors:
    """Counts the seconds of processor time that named processes and what they started have used.

    This process counts alone: the others are its children.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}

    def seconds(self) -> dict[str, float]:
        """Returns the seconds since each began; children that have ended count, as long as they were waited for."""
        return {name: _of_tree(root) for name, root in self._roots.items()}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Returns the seconds since `before`."""
        return {name: seconds - before[name] for name, seconds in self.seconds().items()}


def _of_tree(root: psutil.Process) -> float:
    if root.pid == os.getpid():
        times = root.cpu_times()
        return float(times.user + times.system)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
