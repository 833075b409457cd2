"""A network's small heads as compiled loops on the CPU, wherever the network is.

Tensor operations take longer to begin than such heads take for a few users, and a GPU no less.
Shapes: N answers, D width, K event types, F features, H hidden units of the purchase head.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiled import Floats, compiled
from model.kernels.gathered_dot import dot
from model.network.network import Network


class _LinearLayer(NamedTuple):
    weights: Floats  # (K, D)
    biases: Floats  # (K,)


class _PurchaseLayers(NamedTuple):
    table: Floats  # (rows, H)
    biases: Floats  # (H,)
    last: Floats  # (H,)
    linear: Floats  # (rows,)
    bias: np.float32


class Heads:
    """The heads that a worker serves: next types and purchases. Items are ranked elsewhere."""

    def __init__(self, network: Network) -> None:
        """Copies the weights of a network in evaluation mode."""
        purchase = network.purchase
        self._next_type = _LinearLayer(_array(network.next_type.weight), _array(network.next_type.bias))
        self._of_user = _LinearLayer(_array(network.type_by_vector.weight), _array(network.type_by_vector.bias))
        self._purchase = _PurchaseLayers(
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
        """The user's factors (N, K) of the type given the item: see `type_given_item`."""
        return _exponentials(vectors, self._of_user)  # type: ignore[no-any-return]

    def purchase(self, features: NDArray[np.int32]) -> Floats:
        """Logits (N,) of a purchase within the horizon, by features (N, F)."""
        return _purchase_logits(features, self._purchase)  # type: ignore[no-any-return]


def _array(weights: torch.Tensor) -> Floats:
    array: Floats = weights.detach().cpu().contiguous().numpy()
    return array


@compiled
def _exponentials(vectors: Floats, linear: _LinearLayer) -> NDArray[np.float64]:
    """Exponentials (N, K) of a layer's logits, less the highest of each answer."""
    powers = np.empty((len(vectors), len(linear.biases)), np.float64)
    for n in range(len(vectors)):
        for k in range(powers.shape[1]):
            powers[n, k] = linear.biases[k] + dot(linear.weights[k], vectors[n])
        highest = powers[n].max()
        for k in range(powers.shape[1]):
            powers[n, k] = np.exp(powers[n, k] - highest)
    return powers


@compiled
def _purchase_logits(features: NDArray[np.int32], head: _PurchaseLayers) -> Floats:
    logits, units = np.empty(len(features), np.float32), np.empty(len(head.biases), np.float32)
    for n in range(len(features)):
        units[:] = head.biases
        logit = head.bias
        for row in features[n]:
            logit += head.linear[row]
            embedded = head.table[row]
            for h in range(len(units)):
                units[h] += embedded[h]
        for h in range(len(units)):
            logit += head.last[h] * max(units[h], np.float32(0))
        logits[n] = logit
    return logits


def exponentials(logits: Tensor) -> NDArray[np.float64]:
    """Exponentials of logits (..., K), less the highest of each row."""
    return (logits - logits.amax(-1, keepdim=True)).double().exp().cpu().numpy()


def type_given_item(
    of_users: NDArray[np.float64], of_items: NDArray[np.float64], items: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Probabilities (N, k, K) of the next type on each ranked item (N, k).

    The softmax of a sum is a product of `exponentials`, scaled: those of users (N, K) are `Heads.of_user`, those of
    items (I, K) are computed once.
    """
    shares = np.empty((*items.shape, of_users.shape[1]), np.float32)
    _multiply(of_users, of_items, items, shares)
    return shares


@compiled
def _multiply(
    of_users: NDArray[np.float64], of_items: NDArray[np.float64], items: NDArray[np.int64], shares: NDArray[np.float32]
) -> None:
    for n in range(items.shape[0]):
        for column in range(items.shape[1]):
            item, total = items[n, column], 0.0
            for code in range(of_users.shape[1]):
                total += of_users[n, code] * of_items[item, code]
            for code in range(of_users.shape[1]):
                shares[n, column, code] = of_users[n, code] * of_items[item, code] / total
