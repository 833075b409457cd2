"""Draws the segments of a version: how many users each has, and what sets them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from model.profile.fitted_segments import FittedSegments
from model.profile.segment_features import SEGMENT_FEATURES
from stream_app.errors import UsageError

_COLOUR: Final = "#c1272d"
_WIDEST: Final = 34  # characters of a name's line


def draw_segments(version: str, fitted: FittedSegments, folder: Path) -> Path:
    """Writes `segments.png`. Raises `UsageError` when the folder cannot be written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    order = np.argsort(fitted.sizes)  # the largest on top
    shown = np.flatnonzero(np.array(fitted.scales) > 0)
    labels = [_feature(index, fitted) for index in shown.tolist()]
    height = max(3.5, 0.75 * len(order) + 2)
    figure, (sizes, centres) = pyplot.subplots(
        1, 2, figsize=(13, height), layout="constrained", width_ratios=(1, 2), sharey=True
    )
    figure.suptitle(f"Segments of {version}")
    _draw_sizes(sizes, fitted, order)
    values = np.array(fitted.centres)[order][:, shown] / _weights(fitted)[shown]
    _draw_centres(figure, centres, values, labels)
    path = folder / "segments.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)
    return path


def _draw_sizes(axis: Any, fitted: FittedSegments, order: np.ndarray[Any, Any]) -> None:
    rows, shares = range(len(order)), [100 * fitted.sizes[group] for group in order]
    axis.barh(rows, shares, color=_COLOUR, height=0.6)
    axis.set_yticks(rows, [_wrapped(f"{fitted.ids[group]}: {fitted.names[group]}") for group in order])
    for row, share in zip(rows, shares, strict=True):
        axis.annotate(f"{share:.0f} %", (share, row), xytext=(4, 0), textcoords="offset points", va="center")
    axis.set_xlim(0, 1.2 * max(shares))
    axis.set_xlabel("users (%)")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_centres(figure: Any, axis: Any, values: np.ndarray[Any, Any], labels: list[str]) -> None:
    image = axis.imshow(values, cmap="RdBu_r", vmin=-1.5, vmax=1.5, aspect="auto")
    axis.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    axis.tick_params(axis="y", length=0)
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        axis.annotate(f"{round(float(value), 1) + 0.0:+.1f}", (column, row), ha="center", va="center", fontsize=8,
                      color="white" if abs(value) > 0.9 else "black")  # fmt: skip
    figure.colorbar(image, ax=axis, label="above or below all users (standard deviations)", shrink=0.8)


def _weights(fitted: FittedSegments) -> np.ndarray[Any, Any]:
    """Returns what the features (F,) count beside each other: all categories together count as one."""
    categories = len(fitted.categories)
    return np.where(np.arange(len(fitted.means)) < len(fitted.means) - categories, 1, 1 / np.sqrt(max(1, categories)))


def _feature(index: int, fitted: FittedSegments) -> str:
    if index < len(SEGMENT_FEATURES):
        return SEGMENT_FEATURES[index]
    return f"category {fitted.categories[index - len(SEGMENT_FEATURES)]}"


def _wrapped(name: str) -> str:
    lines = [""]
    for word in name.split(" "):
        if len(lines[-1]) + len(word) > _WIDEST:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(line.rstrip() for line in lines)
