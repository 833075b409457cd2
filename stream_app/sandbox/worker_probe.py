"""Reads a worker's /metrics and /readyz, for the demo's figures."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_UNREACHABLE = (aiohttp.ClientError, TimeoutError)


class WorkerProbe:
    """The last scrape of one worker, and the scrape of when its first model began to serve."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._values: dict[tuple[str, str], float] = {}
        self._at_first_model: dict[tuple[str, str], float] = {}
        self.version = "baseline"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def is_ready(self) -> bool:
        """Tells whether the worker answers events."""
        return await self._get("/readyz") is not None

    async def scrape(self) -> None:
        """Reads the metrics; while the worker does not answer, the last ones stay."""
        text = await self._get("/metrics")
        if text is None:
            return
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._values[sample.name, next(iter(sample.labels.values()), "")] = sample.value
                if sample.name == "nextact_model_info" and sample.value:
                    self.version = sample.labels["version"]
        if self.models_loaded and not self._at_first_model:
            self._at_first_model = dict(self._values)

    @property
    def users(self) -> float:
        """Users whose state the worker holds."""
        return self._values.get(("nextact_users", ""), 0)

    @property
    def models_loaded(self) -> int:
        """Versions that the worker took into service."""
        return int(self._values.get(("nextact_reloads_total", "loaded"), 0))

    def hits(self) -> dict[str, float | None]:
        """Returns hit@20 of model and rules on the same events: those since the first model began to serve."""
        return {"model": self._share("model"), "baseline": self._share("rules")}

    def _share(self, ranker: str) -> float | None:
        before = self._at_first_model
        if not before:
            return self._overall(ranker)
        scored = self._since("nextact_scored_total", ranker)
        return round(self._since("nextact_hits_total", ranker) / scored, 4) if scored else None

    def _overall(self, ranker: str) -> float | None:
        scored = self._values.get(("nextact_scored_total", ranker), 0)
        return round(self._values["nextact_hits_total", ranker] / scored, 4) if scored else None

    def _since(self, name: str, ranker: str) -> float:
        return self._values.get((name, ranker), 0) - self._at_first_model.get((name, ranker), 0)

    def outcomes(self, name: str) -> list[str]:
        """Returns the labels of a counter that has counted anything."""
        return [label for (counter, label), value in self._values.items() if counter == name and value]

    async def _get(self, path: str) -> str | None:
        assert self._session is not None
        try:
            async with self._session.get(self._url + path) as response:
                return await response.text() if response.status == 200 else None
        except _UNREACHABLE:
            return None


async def ended_rounds(trainer: str) -> list[str]:
    """Returns the outcomes of the rounds of training that have ended, each once; none while it does not answer."""
    async with WorkerProbe(trainer) as probe:
        await probe.scrape()
        return probe.outcomes("nextact_trainer_rounds_total")
