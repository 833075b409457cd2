"""Pictures of an evaluation: quality by epoch, by position, by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from model.quality import Quality
from model.ranking import LISTED
from stream_app.errors import RuntimeMissing, UsageError
from stream_app.evaluation_report import Report, title

SHOWN: Final = ("v_sknn", "rules", "own_items", "popularity")  # baselines beside the model
_MODEL: Final = "#c1272d"
_OTHERS: Final = ("#30638e", "#4d8b57", "#8a6d3b", "#7a7a7a")
_TICKS: Final = 7  # labels of an axis, at most: dates are wide
_GAP: Final = 0.045  # between two labels, as a share of the height


def check_drawing() -> None:
    """Raises `RuntimeMissing` without matplotlib: before an hour of training, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise RuntimeMissing("--plot needs matplotlib: pip install 'nextact[plot]'") from error


def draw(report: Report, folder: Path) -> list[Path]:
    """Writes the pictures that there is something to show on. Raises `UsageError` where the folder takes none."""
    pictures = {"by_epoch": _by_epoch(report)} if report.epochs else {}
    names = {"position": "earlier actions of the user", "day": "day (UTC)"}
    for kind, name in names.items():
        parts = report.slices.get(kind, {})
        if len(parts) > 1:
            pictures[f"by_{kind}"] = _by_part(report, parts, name)
    return [_written(figure, folder / f"{name}.png") for name, figure in pictures.items()]


def _by_epoch(report: Report) -> Any:
    figure, axes = _axes("Quality by epoch, on the newest tenth of the training time", 2)
    epochs = range(1, len(report.epochs) + 1)
    for place, name in enumerate(("recall", "mrr")):
        values = [100 * getattr(ranking, name)[LISTED] for ranking in report.epochs]
        axes[place].plot(epochs, values, color=_MODEL, marker="o")
        _label(axes[place], [(values[-1], f"{values[-1]:.1f} %", _MODEL)], epochs[-1])
        axes[place].set_xticks(epochs)
    _name_axes(axes, "epoch")
    return figure


def _by_part(report: Report, parts: Mapping[str, Mapping[str, Quality]], name: str) -> Any:
    figure, axes = _axes(f"Quality by {name}", 2)
    rankers = (report.model, *(ranker for ranker in SHOWN if ranker in report.whole))
    for place, metric in enumerate(("recall", "mrr")):
        ends = []
        for ranker, color in zip(rankers, (_MODEL, *_OTHERS), strict=False):
            values = [100 * getattr(by[ranker].means, metric)[LISTED] for by in parts.values()]
            axes[place].plot(values, color=color, marker="o", linewidth=2.4 if ranker == report.model else 1.4)
            ends.append((values[-1], title(ranker), color))
        counts = [f"{part}\n{by[report.model].targets:,}" for part, by in parts.items()]
        every = -(-len(parts) // _TICKS)
        axes[place].set_xticks(range(0, len(parts), every), counts[::every], fontsize=8)
        _label(axes[place], ends, len(parts) - 1)
    _name_axes(axes, f"{name}; below: targets")
    return figure


def _axes(heading: str, columns: int) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(12, 4.5), layout="constrained")
    figure.suptitle(heading)
    return figure, axes


def _name_axes(axes: Any, name: str) -> None:
    for axis, metric in zip(axes, (f"Recall@{LISTED} (%)", f"MRR@{LISTED} (%)"), strict=True):
        axis.set_xlabel(name)
        axis.set_ylabel(metric)
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)


def _label(axis: Any, ends: Sequence[tuple[float, str, str]], x: float) -> None:
    """Names lines at their right ends, moved apart where they would lie on each other."""
    axis.set_ylim(bottom=0)
    gap = _GAP * axis.get_ylim()[1]
    lowest = float("-inf")
    for value, text, color in sorted(ends):
        lowest = max(value, lowest + gap)
        axis.annotate(text, (x, lowest), xytext=(8, 0), textcoords="offset points", color=color, va="center")


def _written(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(f"--plot: {path} cannot be written: {error.strerror}; give another folder") from error
    finally:
        pyplot.close(figure)
    return path
