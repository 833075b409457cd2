"""What the small heads of a network say, in compiled loops on the CPU, wherever the network is.

Tensor operations take longer to begin than such heads take for a few users, and a GPU no less.
Shapes: N answers, D width, K event types, F facts, H hidden units of the purchase head.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiled import compiled
from model.kernels.gathered_dot import dot
from model.network.network import Network

Floats = NDArray[np.float32]


class _Linear(NamedTuple):
    weights: Floats  # (K, D)
    biases: Floats  # (K,)


class _Purchase(NamedTuple):
    table: Floats  # (rows, H)
    biases: Floats  # (H,)
    last: Floats  # (H,)
    linear: Floats  # (rows,)
    bias: np.float32


class Heads:
    """Those that are served, but for the items."""

    def __init__(self, network: Network) -> None:
        """Of a network in evaluation mode."""
        purchase = network.purchase
        self._next_type = _Linear(_array(network.next_type.weight), _array(network.next_type.bias))
        self._of_user = _Linear(_array(network.type_by_vector.weight), _array(network.type_by_vector.bias))
        self._purchase = _Purchase(
            table=_array(purchase.table.weight),
            biases=_array(purchase.bias),
            last=_array(purchase.last.weight[0]),
            linear=_array(purchase.linear.weight[:, 0]),
            bias=np.float32(purchase.last.bias.item()),
        )

    def next_type(self, vectors: Floats) -> Floats:
        """Probabilities (N, K) of the next action's type, by vectors (N, D)."""
        powers: NDArray[np.float64] = _exponentials(vectors, self._next_type)
        shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
        return shares.astype(np.float32)

    def of_user(self, vectors: Floats) -> NDArray[np.float64]:
        """The user's share (N, K) in what is done with an item: see `type_given_item`."""
        return _exponentials(vectors, self._of_user)  # type: ignore[no-any-return]

    def purchase(self, habits: NDArray[np.int32]) -> Floats:
        """Logits (N,) of a purchase within the horizon, by habits (N, F)."""
        return _buy(habits, self._purchase)  # type: ignore[no-any-return]


def _array(weights: torch.Tensor) -> Floats:
    found: Floats = weights.detach().cpu().contiguous().numpy()
    return found


@compiled
def _exponentials(vectors: Floats, linear: _Linear) -> NDArray[np.float64]:
    """Of logits, less the highest of each answer."""
    found = np.empty((len(vectors), len(linear.biases)), np.float64)
    for n in range(len(vectors)):
        for k in range(found.shape[1]):
            found[n, k] = linear.biases[k] + dot(linear.weights[k], vectors[n])
        highest = found[n].max()
        for k in range(found.shape[1]):
            found[n, k] = np.exp(found[n, k] - highest)
    return found


@compiled
def _buy(habits: NDArray[np.int32], head: _Purchase) -> Floats:
    found, units = np.empty(len(habits), np.float32), np.empty(len(head.biases), np.float32)
    for n in range(len(habits)):
        units[:] = head.biases
        logit = head.bias
        for row in habits[n]:
            logit += head.linear[row]
            facts = head.table[row]
            for h in range(len(units)):
                units[h] += facts[h]
        for h in range(len(units)):
            logit += head.last[h] * max(units[h], np.float32(0))
        found[n] = logit
    return found


def exponentials(logits: Tensor) -> NDArray[np.float64]:
    """Exponentials of logits (..., K), less the highest of each row."""
    return (logits - logits.amax(-1, keepdim=True)).double().exp().cpu().numpy()


def type_given_item(
    of_users: NDArray[np.float64], of_items: NDArray[np.float64], items: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Probabilities (N, k, K) from `exponentials` of items (I, K) and their like of users (N, K), for ranked items
    (N, k); the users' are `Heads.of_user`."""
    found = np.empty((*items.shape, of_users.shape[1]), np.float32)
    _multiply(of_users, of_items, items, found)
    return found


@compiled
def _multiply(
    of_users: NDArray[np.float64], of_items: NDArray[np.float64], items: NDArray[np.int64], found: NDArray[np.float32]
) -> None:
    for n in range(items.shape[0]):
        for place in range(items.shape[1]):
            item, total = items[n, place], 0.0
            for kind in range(of_users.shape[1]):
                total += of_users[n, kind] * of_items[item, kind]
            for kind in range(of_users.shape[1]):
                found[n, place, kind] = of_users[n, kind] * of_items[item, kind] / total
