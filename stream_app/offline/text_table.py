"""Writes tables for terminals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]], corner: str = "") -> Iterator[str]:
    """Yields a table: names at the left, cells right-aligned under their columns."""
    first = max(len(name) for name in (corner, *rows))
    widths = [max(map(len, column)) for column in zip(columns, *rows.values(), strict=True)]
    for name, cells in ((corner, columns), *rows.items()):
        yield "  ".join((name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))))
