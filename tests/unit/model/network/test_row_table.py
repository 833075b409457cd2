"""A table that is read through a copy of some of its rows, against the whole table."""

from __future__ import annotations

import torch

from model.network.row_table import RowTable

ROWS = torch.tensor([0, 3, 5, 8])


def made() -> RowTable:
    table = RowTable(10, 4, padding_idx=0)
    with torch.no_grad():
        table.weight[0].zero_()
    return table


def test_rows_in_use_are_read_in_the_place_of_the_tables_and_get_the_gradients() -> None:
    table, single, several = made(), torch.tensor([3, 8, 3]), torch.tensor([[5, 3, 0], [8, 0, 0], [0, 0, 0]])
    wanted = table(single), table.means(several)
    weights = table.weight.detach()[ROWS].requires_grad_()
    with table.reading(ROWS, weights):
        found = table(single), table.means(several)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    (found[0].sum() + found[1].sum()).backward()
    (wanted[0].sum() + wanted[1].sum()).backward()
    assert table.weight.grad is not None
    torch.testing.assert_close(weights.grad, table.weight.grad[ROWS])
    with table.reading(ROWS, weights + 1):
        assert not torch.equal(table(single), wanted[0])
    assert torch.equal(table(single), wanted[0])


def test_a_mean_leaves_row_0_out() -> None:
    table = made()
    means = table.means(torch.tensor([[[5, 3, 0]], [[0, 0, 0]]]))
    torch.testing.assert_close(means[0, 0], table.weight[[5, 3]].mean(0))
    assert not means[1].any()
