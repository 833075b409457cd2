"""P(a purchase soon) from what a user did lately: a small network over `habits`, fitted by itself.

Fitted after the network's other parts and not with them, so that it takes nothing from the ranking.
Shapes: N examples, F facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.purchase_features import ROWS

_AT_ONCE: Final = 65_536  # examples

HIDDEN: Final = 32
_SPREAD: Final = 0.1  # standard deviation that the table begins with


class PurchaseHead(nn.Module):
    """Logits of a purchase within the horizon. It reads what `habits` says and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(ROWS, HIDDEN, mode="sum")
        self.linear = nn.EmbeddingBag(ROWS, 1, mode="sum")
        self.bias = nn.Parameter(torch.zeros(HIDDEN))
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(HIDDEN, 1)
        self.begin()
        self.requires_grad_(False)  # the network is trained without it

    def begin(self) -> None:
        """Forgets everything."""
        nn.init.normal_(self.table.weight, std=_SPREAD)
        nn.init.normal_(self.last.weight, std=HIDDEN**-0.5)
        for zeros in (self.linear.weight, self.bias, self.last.bias):
            nn.init.zeros_(zeros)

    def forward(self, habits: Tensor) -> Tensor:
        """Logits (N,) of habits (N, F)."""
        hidden = self.dropout(F.relu(self.table(habits) + self.bias))
        logits: Tensor = (self.last(hidden) + self.linear(habits)).squeeze(-1)
        return logits


@dataclass(frozen=True, slots=True)
class PurchaseConfig:
    """How to fit."""

    examples: int = 200_000  # to go through in all: few are repeated more often than many
    most_epochs: int = 4
    batch: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2

    def epochs(self, examples: int) -> int:
        """How often to go through so many examples."""
        return min(self.most_epochs, max(1, round(self.examples / max(1, examples))))


def fit_purchase_head(
    head: PurchaseHead, habits: NDArray[np.int32], labels: NDArray[np.bool_], config: PurchaseConfig, *, seed: int
) -> None:
    """Fits the head anew to habits (N, F) and labels (N,), in place; it ends in evaluation mode, on its device.

    A seed fixes the result on a CPU.
    """
    device = head.bias.device
    rows, wanted = torch.from_numpy(habits).to(device), torch.from_numpy(labels).float().to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head.begin()
        _descend(head.train().requires_grad_(True), rows, wanted, config)
    head.eval().requires_grad_(False)


def _descend(head: PurchaseHead, rows: Tensor, wanted: Tensor, config: PurchaseConfig) -> None:
    epochs, batches = config.epochs(len(rows)), -(-len(rows) // config.batch)
    steps = max(1, epochs * batches)
    optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows)).to(rows.device).split(config.batch):  # type: ignore[no-untyped-call]
            loss = F.binary_cross_entropy_with_logits(head(rows[chosen]), wanted[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def purchase_logits(head: PurchaseHead, habits: NDArray[np.int32]) -> NDArray[np.float32]:
    """Logits (N,) of habits (N, F), by a head in evaluation mode."""
    device = head.bias.device
    parts = [torch.from_numpy(habits[start : start + _AT_ONCE]) for start in range(0, len(habits), _AT_ONCE)]
    found = [head(part.to(device)).cpu().numpy() for part in parts]
    return np.concatenate([np.zeros(0, np.float32), *found])
