"""The tables and the JSON of `sustainable`: medians over the repeats of what each system came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf, nan
from statistics import median
from typing import Any, Final

from tests.bench.compare import Ratio, finite, show, show_percentiles
from tests.bench.rate_points import Point
from tests.bench.rate_search import failed_above, highest_held
from tests.bench.systems import ECHO, OURS

LIMITS_MS: Final = (50, 100, 250)  # of p99
CLIENT_RATES: Final = (1000.0, 4000.0)  # events/s at which clients are compared
PROCESSES: Final = ("worker", "broker", "client")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a system came to in one repeat."""

    points: dict[float, Point] = field(default_factory=dict)  # by events/s
    idle: dict[str, float] = field(default_factory=dict)  # cores in use while nothing comes, by process
    clients: dict[str, dict[float, Point]] = field(default_factory=dict)  # by client and events/s

    def verdicts(self, limit_ms: float) -> dict[float, bool]:
        """Returns which rates were sustained."""
        return {rate: point.sustained(limit_ms) for rate, point in self.points.items()}

    def sustained(self, limit_ms: float) -> float:
        """Returns the highest rate that was sustained, in events/s; 0.0 where none was."""
        return highest_held(self.verdicts(limit_ms))


Names = Mapping[str, str]  # of systems in tables, by their keys
ByRate = dict[str, dict[str, float | None]]  # a figure by events/s and system
Turns = Mapping[str, Sequence[Turn]]  # by system, one per repeat


def tables(names: Names, turns: Turns, rates: Sequence[float]) -> dict[str, Any]:
    """Prints all tables, ratios first; returns their figures by the systems' keys. `rates` were offered to all."""
    runs = {f"at_p99_{limit}ms": _sustained(names, turns, limit) for limit in LIMITS_MS}
    found: dict[str, Any] = {name: {key: median(at) for key, at in several.items()} for name, several in runs.items()}
    for rate in rates:
        _show_rate(names, turns, rate)
    for name in ("p50", "p90", "p99", "p99.9"):
        found[f"{name}_ms"] = _by_rate(turns, partial(_percentile, name), rates)
    found["cpu_us_per_event"] = {process: _by_rate(turns, partial(_micros, process)) for process in PROCESSES}
    for process, by_rate in found["cpu_us_per_event"].items():
        _print_by_rate(f"microseconds of processor time of the {process} per event", names, by_rate, rates)
    found["batch"] = {figure: _by_rate(turns, partial(_of_batch, figure)) for figure in ("events", "ms")}
    _print_by_rate("events of a batch", names, found["batch"]["events"], rates)
    _print_by_rate("milliseconds for which an engine computed a batch", names, found["batch"]["ms"], rates)
    found["sent_late"] = _by_rate(turns, lambda point: point.late_share)
    found["kept_up"] = _by_rate(turns, lambda point: float(point.keeps_up))
    found["idle_cores"] = _idle(names, turns)
    found["clients"] = _clients(turns)
    found["failed_above"] = {
        f"at_p99_{limit}ms": {
            key: [failed_above(turn.verdicts(limit)) for turn in several] for key, several in turns.items()
        }
        for limit in LIMITS_MS
    }
    return found | {"runs": runs}


def _sustained(names: Names, turns: Turns, limit: float) -> dict[str, list[float]]:
    runs = {key: [turn.sustained(limit) for turn in several] for key, several in turns.items()}
    others = [key for key, values in runs.items() if key != OURS and median(values) > 0]
    # Of ours to the peers, and of what is ours with other settings to ours.
    pairs = [(key, OURS) if key.startswith(OURS) else (OURS, key) for key in others]
    ratios = [Ratio(names[of], names[to]) for of, to in pairs if OURS in runs and median(runs[to]) > 0]
    show({names[key]: values for key, values in runs.items()}, f"events/s with a p99 of at most {limit:g} ms", ratios)
    return runs


def _show_rate(names: Names, turns: Turns, rate: float) -> None:
    offered = {names[key]: _milliseconds(several, rate) for key, several in turns.items() if _offered(several, rate)}
    if offered:
        show_percentiles(
            f"{rate:,.0f} events/s", offered, names[ECHO] if names.get(ECHO) in offered else next(iter(offered))
        )
    behind = [names[key] for key, several in turns.items() if not _offered(several, rate)]
    if behind:
        print(f"{rate:,.0f} events/s were not offered to those that fell behind before: {', '.join(behind)}")


def _offered(several: Sequence[Turn], rate: float) -> bool:
    return any(rate in turn.points for turn in several)


def _milliseconds(several: Sequence[Turn], rate: float) -> list[dict[str, float]]:
    """Percentiles in each repeat; infinite where the system had fallen behind before."""
    known = next(turn.points[rate].milliseconds for turn in several if rate in turn.points)
    return [turn.points[rate].milliseconds if rate in turn.points else dict.fromkeys(known, inf) for turn in several]


def _by_rate(turns: Turns, figure: Callable[[Point], float], all_repeats: Sequence[float] = ()) -> ByRate:
    """Medians of a figure that is no number where it is not known. A system that was not offered a rate of
    `all_repeats` in a repeat had fallen behind before: its figure is infinite there. JSON has None for both."""
    found: ByRate = {}
    for rate in sorted({rate for several in turns.values() for turn in several for rate in turn.points}):
        row = found.setdefault(f"{rate:g}", {})
        for key, several in turns.items():
            values = [figure(turn.points[rate]) for turn in several if rate in turn.points]
            if rate in all_repeats:
                values += [inf] * (len(several) - len(values))
            if values:
                row[key] = finite(_rounded(median(values)))
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _percentile(name: str, point: Point) -> float:
    return point.milliseconds[name]


def _micros(process: str, point: Point) -> float:
    return point.micros[process]


def _of_batch(figure: str, point: Point) -> float:
    return point.batch.get(figure, nan)


def _print_by_rate(title: str, names: Names, found: ByRate, rates: Sequence[float]) -> None:
    print(f"\n{title}\n" + "".join(f"{rate:10,.0f}/s" for rate in rates))
    for key, name in names.items():
        row = [found.get(f"{rate:g}", {}).get(key) for rate in rates]
        if any(value is not None for value in row):
            print("".join(f"{'' if value is None else f'{value:,.1f}':>12}" for value in row) + f"  {name}", flush=True)


def _idle(names: Names, turns: Turns) -> dict[str, dict[str, float]]:
    rows = {key: turn.idle for key, several in turns.items() for turn in several if turn.idle}
    print("\n  worker   broker  of a core in use while nothing comes")
    for key, row in rows.items():
        print(f"{row['worker']:8.3f} {row['broker']:8.3f}  {names[key]}")
    return {process: {key: row[process] for key, row in rows.items()} for process in PROCESSES[:2]}


def _clients(turns: Turns) -> dict[str, Any]:
    """Prints and returns what the clients take of their own: in the echo's first turn, in which they take turns."""
    first = next(iter(turns.get(ECHO, ())), Turn())
    by_client = dict(first.clients)
    if by_client:
        by_client["librdkafka_echo"] = {rate: first.points[rate] for rate in CLIENT_RATES if rate in first.points}
        print("\n     p50      p99   client   broker  (ms, ms, us, us per event) of what the clients take of their own")
    found: dict[str, Any] = {}
    for name, points in by_client.items():
        for rate, point in points.items():
            row = found.setdefault(name, {})[f"{rate:g}"] = _of_client(point)
            print(" ".join(f"{value:8.1f}" for value in row.values()) + f"  {name} at {rate:,.0f} events/s")
    return found


def _of_client(point: Point) -> dict[str, float]:
    percentiles = {name: point.milliseconds[name] for name in ("p50", "p99")}
    return percentiles | {f"{name}_us": _rounded(point.micros[name]) for name in ("client", "broker")}
