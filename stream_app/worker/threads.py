"""The threads of a worker beside its event loop, one for each kind of work: what a thread owns needs no lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerThreads:
    """Executors with one thread each."""

    device: ThreadPoolExecutor  # steps: it owns the users' states
    ranking: ThreadPoolExecutor  # answers: it owns the kept answers
    coding: ThreadPoolExecutor  # decodes and encodes what is large, writes the local store
    loading: ThreadPoolExecutor  # reads and warms up versions
