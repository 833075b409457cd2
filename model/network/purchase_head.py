"""P(a purchase soon) from what a user did lately: a small network over `purchase_features`, fitted by itself.

It is fitted after the network's other layers and not with them, so that it costs the ranking nothing. Heads of the same
form foresee other things from other features.
Shapes: N examples, F features, R rows, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.epochs import epochs_over
from model.network.purchase_features import ROWS

HIDDEN: Final = 32  # units
_AT_ONCE: Final = 65_536  # examples of a forward pass
_TABLE_STD: Final = 0.1  # of the table's weights before the fit


class PurchaseHead(nn.Module):
    """Logits of a purchase within the horizon, from purchase features and nothing else."""

    def __init__(self, rows: int = ROWS, hidden: int = HIDDEN) -> None:
        """`rows` (R) are those of the features, `hidden` the units (H)."""
        super().__init__()
        self.table = nn.EmbeddingBag(rows, hidden, mode="sum")
        self.linear = nn.EmbeddingBag(rows, 1, mode="sum")
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(hidden, 1)
        self.reset_parameters()
        self.requires_grad_(False)  # the network is trained without it

    def reset_parameters(self) -> None:
        """Draws all weights again."""
        nn.init.normal_(self.table.weight, std=_TABLE_STD)
        nn.init.normal_(self.last.weight, std=len(self.bias) ** -0.5)
        for zeros in (self.linear.weight, self.bias, self.last.bias):
            nn.init.zeros_(zeros)

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits (N,) of features (N, F), as rows of the table."""
        hidden = self.dropout(F.relu(self.table(features) + self.bias))
        logits: Tensor = (self.last(hidden) + self.linear(features)).squeeze(-1)
        return logits


@dataclass(frozen=True, slots=True)
class PurchaseConfig:
    """How to fit the head."""

    examples: int = 200_000  # to go through in all epochs: a small set is repeated more often
    most_epochs: int = 4
    batch: int = 256  # examples
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2

    def epochs(self, examples: int) -> int:
        """Returns how often to go through so many examples."""
        return epochs_over(examples, self.examples, most=self.most_epochs)


def fit_purchase_head(
    head: PurchaseHead, features: NDArray[np.int32], labels: NDArray[np.bool_], config: PurchaseConfig, *, seed: int
) -> None:
    """Fits the head from new weights to features (N, F) and labels (N,), in place; leaves it in evaluation mode.

    A seed fixes the result on a CPU.
    """
    device = head.bias.device
    rows, targets = torch.from_numpy(features).to(device), torch.from_numpy(labels).float().to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head.reset_parameters()
        _optimise(head.train().requires_grad_(True), rows, targets, config)
    head.eval().requires_grad_(False)


def _optimise(head: PurchaseHead, rows: Tensor, targets: Tensor, config: PurchaseConfig) -> None:
    epochs, batches = config.epochs(len(rows)), -(-len(rows) // config.batch)
    steps = max(1, epochs * batches)
    optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows)).to(rows.device).split(config.batch):  # type: ignore[no-untyped-call]
            loss = F.binary_cross_entropy_with_logits(head(rows[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def purchase_logits(head: PurchaseHead, features: NDArray[np.int32]) -> NDArray[np.float32]:
    """Returns logits (N,) of features (N, F), by a head in evaluation mode."""
    device = head.bias.device
    chunks = [torch.from_numpy(features[start : start + _AT_ONCE]) for start in range(0, len(features), _AT_ONCE)]
    logits = [head(chunk.to(device)).cpu().numpy() for chunk in chunks]
    return np.concatenate([np.zeros(0, np.float32), *logits])
