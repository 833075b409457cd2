"""Few examples are repeated more often than many."""

from __future__ import annotations

from model.data.epochs import epochs_over


def test_as_many_epochs_as_go_through_what_is_wanted_within_the_bounds() -> None:
    assert [epochs_over(size, 1000, least=2, most=9) for size in (0, 10, 250, 290, 10_000)] == [9, 9, 4, 3, 2]
    assert epochs_over(10_000, 1000, most=9) == 1
