"""Something that answers as a worker's API does, and has metrics, for the page's tests: real HTTP, no worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class PretendWorker:
    """What it answers; a test changes it as it likes."""

    token: str | None = None
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    metrics: str = "nextact_events_total 0\n"
    ready: bool = True
    refusal: tuple[int, str, str] | None = None  # status, code and message of every answer
    asked: list[str] = field(default_factory=list)  # paths
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Begins to answer."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/v1/worker", self._worker),
                web.get("/v1/users", self._active),
                web.get("/v1/users/{id}", self._user),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Ends, as a worker that was killed."""
        assert self._runner is not None
        await self._runner.cleanup()

    def _refused(self, request: web.Request) -> web.Response | None:
        self.asked.append(request.raw_path)
        said = request.headers.get("Authorization")
        if self.token and said is None:
            return refusal(401, "no_token", "questions need a bearer token")
        if self.token and said != f"Bearer {self.token}":
            return refusal(403, "wrong_token", "this token is none of the worker's")
        return refusal(*self.refusal) if self.refusal else None

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.metrics)

    async def _worker(self, request: web.Request) -> web.Response:
        return self._refused(request) or web.json_response(
            {
                "worker": "nextact-1",
                "version": None,
                "metrics": f"{self.url}/metrics",
                "partitions": [0, 1, 2],
                "ready": self.ready,
            }
        )

    async def _active(self, request: web.Request) -> web.Response:
        users = [{"user_id": user, "age_ms": 40} for user in self.active[: int(request.query["active"])]]
        return self._refused(request) or web.json_response({"users": users})

    async def _user(self, request: web.Request) -> web.Response:
        user = request.match_info["id"]
        found = self.users.get(user)
        unknown = refusal(404, "unknown_user", f"user {user!r} is not known")
        return self._refused(request) or (unknown if found is None else web.json_response(found))


def refusal(status: int, code: str, message: str) -> web.Response:
    """An error as the contract has it."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


@asynccontextmanager
async def pretend_worker(**answers: Any) -> AsyncIterator[PretendWorker]:
    """A worker that answers while the test is within."""
    worker = PretendWorker(**answers)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


def answer(user: str, *, actions: int = 1, **changes: Any) -> dict[str, Any]:
    """What a worker answers of a user; `changes` are of the prediction."""
    prediction = {
        "prediction_id": f"id-{user}-{actions}",
        "user_id": user,
        "event_id": None,
        "event_type": "view",
        "event_timestamp": 1_795_463_133_131,
        "source": {"partition": 2, "offset": actions},
        "model_version": "20261130T010000.000000Z",
        "history_length": actions,
        "next_type": {"click": 0.6, "view": 0.3, "purchase": 0.1},
        "next_actions": [
            {"type": "click", "item_id": "shoe-7", "probability": 0.31},
            {"type": "search", "probability": 0.12},
        ],
        "recommendations": [{"item_id": "shoe-7", "score": 0.4}, {"item_id": "sock-1", "score": 0.2}],
        "purchase_probability": 0.25,
    }
    history = [
        {"type": "view", "item_id": f"item-{number}", "seconds_before": 4.0 * (actions - number)}
        for number in range(actions, 0, -1)
    ]
    return {
        "user_id": user,
        "prediction": prediction | changes,
        "titles": {"shoe-7": "Road runner 7"},
        "history": history[:64],
        "source": "published",
        "age_ms": 812,
        "partition": 2,
        "worker": "nextact-1",
    }


def metrics(
    *,
    events: int = 0,
    rules: tuple[int, int] = (0, 0),
    model: tuple[int, int] = (0, 0),
    version: str = "baseline",
    created: float = 0.0,
    lag: int = 0,
) -> str:
    """What /metrics of a worker says; `rules` and `model`: hits of how many."""
    buckets = {"0.025": events // 2, "0.05": events, "+Inf": events}
    lines = [
        f"nextact_events_total {events}",
        f'nextact_predictions_total{{ranker="model"}} {events}',
        *(f'nextact_event_to_prediction_seconds_bucket{{le="{le}"}} {total}' for le, total in buckets.items()),
        f'nextact_lag_events{{partition="0"}} {lag}',
        "nextact_users 17",
        f'nextact_hits_total{{ranker="rules"}} {rules[0]}',
        f'nextact_scored_total{{ranker="rules"}} {rules[1]}',
        f'nextact_hits_total{{ranker="model"}} {model[0]}',
        f'nextact_scored_total{{ranker="model"}} {model[1]}',
        f'nextact_model_info{{version="{version}"}} 1',
        f"nextact_model_created_timestamp_seconds {created}",
        "nextact_ready 1",
        "nextact_partitions 3",
    ]
    return "\n".join(lines) + "\n"
