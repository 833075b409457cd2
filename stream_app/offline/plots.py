"""Draws an evaluation's quality by epoch, position and day, and a registry's quality by version and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from model.evaluation.gate import PROMOTED
from model.evaluation.quality import Quality
from model.evaluation.ranking import LIST_SIZE
from model.rounds.training_report import LossPoint
from stream_app.errors import RuntimeMissing, UsageError
from stream_app.offline.report import Report, title
from stream_app.versions.admin import ModelLine

SHOWN: Final = ("v_sknn", "rules", "own_items", "popularity")  # baselines drawn beside the model
_MODEL: Final = "#c1272d"
_OTHERS: Final = ("#30638e", "#4d8b57", "#8a6d3b", "#7a7a7a")
_TICKS: Final = 7  # most labels of an axis: dates are wide
_GAP: Final = 0.045  # distance of two labels, as a share of the axis's height


def check_drawing() -> None:
    """Raises `RuntimeMissing` when matplotlib is not installed: before an hour of training, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise RuntimeMissing("pictures need matplotlib: pip install 'nextact[plot]'") from error


def draw(report: Report, folder: Path) -> list[Path]:
    """Writes the pictures that have something to show. Raises `UsageError` when the folder cannot be written."""
    pictures = {"by_epoch": _by_epoch(report)} if report.epochs else {}
    names = {"position": "earlier actions of the user", "day": "day (UTC)"}
    for kind, name in names.items():
        labels = report.slices.get(kind, {})
        if len(labels) > 1:
            pictures[f"by_{kind}"] = _by_slice(report, labels, name)
    return [_save(figure, folder / f"{name}.png") for name, figure in pictures.items()]


def draw_versions(versions: Sequence[ModelLine], folder: Path) -> Path:
    """Writes `versions.png`: Recall@20 of versions (oldest first), of the champions before them and of the rules."""
    figure, (axis,) = _axes("Versions on the newest events, which they had not seen", 1)
    columns = (
        ("the version", _MODEL, [line.recall_at_20 for line in versions]),
        ("champion then", _OTHERS[0], [line.champion_recall_at_20 for line in versions]),
        ("rules", _OTHERS[1], [line.rules_recall_at_20 for line in versions]),
    )
    ends = []
    for name, color, values in columns:
        shares = [float("nan") if value is None else 100 * value for value in values]
        axis.plot(shares, color=color, marker="o", linewidth=2.4 if color == _MODEL else 1.4)
        ends += [(share, name, color) for share in shares[-1:] if share == share]  # not NaN
    for index, line in enumerate(versions):
        if line.verdict not in (None, *PROMOTED) and line.recall_at_20 is not None:
            axis.annotate(line.verdict, (index, 100 * line.recall_at_20), xytext=(0, -14), textcoords="offset points",
                          color=_MODEL, fontsize=8, ha="center")  # fmt: skip
    every = -(-len(versions) // _TICKS)
    names = [(line.created or line.version)[:16].replace("T", "\n") for line in versions]
    axis.set_xticks(range(0, len(versions), every), names[::every], fontsize=8)
    _label(axis, ends, len(versions) - 1)
    _name_axis(
        axis, "version, by the time it was made; a word below: why it was not promoted", f"Recall@{LIST_SIZE} (%)"
    )
    return _save(figure, folder / "versions.png")


def draw_losses(name: str, curve: Sequence[LossPoint], folder: Path) -> Path:
    """Writes `losses.png`: the losses of a version's training, stage by stage."""
    stages = list(dict.fromkeys(point.stage for point in curve))
    figure, panels = _axes(f"Losses of {name}", max(1, len(stages)))
    for axis, stage in zip(panels, stages, strict=False):
        points = [point for point in curve if point.stage == stage]
        steps, ends = [point.step for point in points], []
        for number, loss in enumerate(points[0].losses):
            values = [point.losses[loss] for point in points]
            color = (_MODEL, *_OTHERS)[number % (1 + len(_OTHERS))]
            axis.plot(steps, values, color=color)
            ends.append((values[-1], loss.replace("_", " "), color))
        _label(axis, ends, steps[-1])
        _name_axis(axis, f"step of {stage}", "loss (nats)")
    return _save(figure, folder / "losses.png")


def _by_epoch(report: Report) -> Any:
    figure, axes = _axes("Quality by epoch, on the newest tenth of the training time", 2)
    epochs = range(1, len(report.epochs) + 1)
    for axis, name in zip(axes, ("recall", "mrr"), strict=True):
        values = [100 * getattr(ranking, name)[LIST_SIZE] for ranking in report.epochs]
        axis.plot(epochs, values, color=_MODEL, marker="o")
        _label(axis, [(values[-1], f"{values[-1]:.1f} %", _MODEL)], epochs[-1])
        axis.set_xticks(epochs)
    _name_axes(axes, "epoch")
    return figure


def _by_slice(report: Report, labels: Mapping[str, Mapping[str, Quality]], name: str) -> Any:
    figure, axes = _axes(f"Quality by {name}", 2)
    rankers = (report.model, *(ranker for ranker in SHOWN if ranker in report.whole))
    for axis, metric in zip(axes, ("recall", "mrr"), strict=True):
        ends = []
        for ranker, color in zip(rankers, (_MODEL, *_OTHERS), strict=False):
            values = [100 * getattr(by_ranker[ranker].means, metric)[LIST_SIZE] for by_ranker in labels.values()]
            axis.plot(values, color=color, marker="o", linewidth=2.4 if ranker == report.model else 1.4)
            ends.append((values[-1], title(ranker), color))
        counts = [f"{label}\n{by_ranker[report.model].targets:,}" for label, by_ranker in labels.items()]
        every = -(-len(labels) // _TICKS)
        axis.set_xticks(range(0, len(labels), every), counts[::every], fontsize=8)
        _label(axis, ends, len(labels) - 1)
    _name_axes(axes, f"{name}; below: targets")
    return figure


def _axes(heading: str, columns: int) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(12, 4.5), layout="constrained", squeeze=False)
    figure.suptitle(heading)
    return figure, axes[0]


def _name_axes(axes: Any, name: str) -> None:
    for axis, metric in zip(axes, (f"Recall@{LIST_SIZE} (%)", f"MRR@{LIST_SIZE} (%)"), strict=True):
        _name_axis(axis, name, metric)


def _name_axis(axis: Any, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _label(axis: Any, ends: Sequence[tuple[float, str, str]], x: float) -> None:
    """Names lines at their right ends; names that would overlap are moved apart."""
    axis.set_ylim(bottom=0)
    gap = _GAP * axis.get_ylim()[1]
    lowest = float("-inf")
    for value, text, color in sorted(ends):
        lowest = max(value, lowest + gap)
        axis.annotate(text, (x, lowest), xytext=(8, 0), textcoords="offset points",
                      color=color, va="center", annotation_clip=False)  # fmt: skip


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give another folder for pictures") from error
    finally:
        pyplot.close(figure)
    return path
