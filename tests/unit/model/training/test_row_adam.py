"""The optimizer of a table's rows against PyTorch's Adam on all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.network.row_table import RowTable
from model.training.row_adam import RowAdam

ROWS, WIDTH, STEPS = 60, 4, 700
FAR = torch.linspace(-1, 1, WIDTH)  # what rows are pulled to


def rates() -> list[float]:
    """Rises and falls, as a fit's do."""
    return [0.04 * min((step + 1) / 20, (STEPS - step) / STEPS) for step in range(STEPS)]


def reads() -> list[Tensor]:
    """The rows that each step reads: some in every step, some rarely, some once, and one never."""
    rng, result = np.random.default_rng(1), []
    for step in range(STEPS):
        rare = rng.choice(np.arange(5, ROWS - 2), 3, replace=False)
        once = [ROWS - 2] if step == 9 else []
        result.append(torch.from_numpy(np.unique([0, 1, *rare, *once])))
    return result


def loss(rows: Tensor, step: int) -> Tensor:
    return ((rows - FAR * (1 + step % 3)) ** 2).sum()


def by_adam(table: RowTable) -> list[Tensor]:
    """The table after each step of PyTorch's Adam."""
    weights = nn.Parameter(table.weight.detach().clone())
    optimizer, result = torch.optim.Adam([weights]), []
    for step, (rows, rate) in enumerate(zip(reads(), rates(), strict=True)):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=False)
        loss(weights[rows], step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        result.append(weights.detach().clone())
    return result


def do(adam: RowAdam, table: RowTable, step: int) -> Tensor:
    """Does a step; returns the rows as they were read."""
    used = adam.read(reads()[step])
    with table.reading(used.rows, used.weights):
        loss(table(reads()[step]), step).backward()  # type: ignore[no-untyped-call]
    before = used.weights.detach().clone()
    adam.step(used, rates()[step])
    return before


@pytest.fixture
def table() -> RowTable:
    torch.manual_seed(1)
    return RowTable(ROWS, WIDTH)


def test_rows_are_read_and_end_as_adam_on_all_rows_has_them(table: RowTable) -> None:
    first, expected, rows = table.weight.detach().clone(), by_adam(table), reads()
    adam = RowAdam(table, STEPS)
    for step in range(STEPS):
        before = do(adam, table, step)
        wanted = (expected[step - 1] if step else first)[rows[step]]
        torch.testing.assert_close(before, wanted, rtol=0, atol=2e-5, msg=f"step {step}")
    assert not torch.allclose(table.weight, expected[-1], atol=1e-4)
    adam.settle()
    torch.testing.assert_close(table.weight.detach(), expected[-1], rtol=0, atol=2e-5)
    assert torch.equal(table.weight[-1], first[-1])


def test_a_fit_that_resumes_gives_the_same_bits(table: RowTable) -> None:
    adam = RowAdam(table, STEPS)
    for step in range(40):
        do(adam, table, step)
    adam.settle()
    again = RowTable(ROWS, WIDTH)
    again.load_state_dict(table.state_dict())
    resumed = RowAdam(again, STEPS)
    resumed.resume(adam.means, adam.squares, 40)
    for step in range(40, 90):
        do(adam, table, step)
        do(resumed, again, step)
    for one in (adam, resumed):
        one.settle()
    assert torch.equal(table.weight, again.weight)


def test_a_step_without_gradients_is_refused(table: RowTable) -> None:
    adam = RowAdam(table, STEPS)
    with pytest.raises(ValueError, match="no gradients"):
        adam.step(adam.read(torch.arange(3)), 0.1)
