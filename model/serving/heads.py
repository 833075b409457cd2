"""A network's small heads as one compiled call on the CPU, wherever the network is.

Tensor operations take longer to begin than such heads take for a few users, and a GPU no less.
Shapes: N answers, D width, K event types, k ranked items, I items, F features, H hidden units of the purchase head.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.recent import RecentActions
from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.gathered_dot import dot
from model.network.calibration import Calibration
from model.network.network import Network, without_search
from model.network.purchase_features import NUM_FEATURES, fill_features


class _LinearLayer(NamedTuple):
    weights: Floats  # (K, D)
    biases: Floats  # (K,)


class _PurchaseLayers(NamedTuple):
    table: Floats  # (rows, H)
    biases: Floats  # (H,)
    last: Floats  # (H,)
    linear: Floats  # (rows,)
    bias: np.float32
    slope: np.float32  # of the calibration
    intercept: np.float32


class _Layers(NamedTuple):
    next_type: _LinearLayer
    of_user: _LinearLayer  # the user's share in the logits of the type given the item
    of_items: NDArray[np.float64]  # (I or more, K) `exponentials` of the items' share, by number
    purchase: _PurchaseLayers


class HeadAnswers(NamedTuple):
    """What the heads say in N answers. Items are ranked elsewhere."""

    next_type: Floats  # (N, K) probabilities
    type_given_item: Floats  # (N, k, K) probabilities of the next type on each ranked item
    purchase: Floats  # (N,) calibrated probabilities


class Heads:
    """The heads that a worker serves: next types, in all and on an item, and purchases."""

    def __init__(self, network: Network, item_vectors: Tensor, calibration: Calibration) -> None:
        """Copies the weights of a network in evaluation mode; `item_vectors` (I, D) are its own."""
        purchase = network.purchase
        # On the CPU, as later items are few at a time.
        self._of_item = network.type_by_item.weight.detach().cpu().clone()  # (K, D)
        self._layers = _Layers(
            next_type=_LinearLayer(_array(network.next_type.weight), _array(network.next_type.bias)),
            of_user=_LinearLayer(_array(network.type_by_vector.weight), _array(network.type_by_vector.bias)),
            of_items=exponentials(network.item_type_logits(item_vectors)),
            purchase=_PurchaseLayers(
                table=_array(purchase.table.weight),
                biases=_array(purchase.bias),
                last=_array(purchase.last.weight[0]),
                linear=_array(purchase.linear.weight[:, 0]),
                bias=np.float32(purchase.last.bias.item()),
                slope=np.float32(calibration.slope),
                intercept=np.float32(calibration.intercept),
            ),
        )

    @torch.inference_mode()
    def take_items(self, numbers: NDArray[np.int64], vectors: Floats) -> None:
        """Takes in the vectors of some items, by number: `vectors` (I or more, D) are those of all."""
        if not len(numbers):
            return
        of_items = self._layers.of_items
        if len(of_items) < len(vectors):
            bigger = np.ones((len(vectors), of_items.shape[1]))
            bigger[: len(of_items)] = of_items
            self._layers = self._layers._replace(of_items=bigger)
        shares = exponentials(without_search(torch.from_numpy(vectors[numbers]) @ self._of_item.T))
        self._layers.of_items[numbers] = shares

    def answer(self, vectors: Floats, recent: RecentActions, items: NDArray[np.int64]) -> HeadAnswers:
        """Answers from vectors (N, D) and last actions, about the ranked items (N, k)."""
        answers = HeadAnswers(
            next_type=np.empty((len(vectors), len(self._layers.next_type.biases)), np.float32),
            type_given_item=np.empty((*items.shape, len(self._layers.of_user.biases)), np.float32),
            purchase=np.empty(len(vectors), np.float32),
        )
        _answer(vectors, recent, items, self._layers, answers)
        return answers


def _array(weights: torch.Tensor) -> Floats:
    array: Floats = weights.detach().cpu().contiguous().numpy()
    return array


def exponentials(logits: Tensor) -> NDArray[np.float64]:
    """Returns exponentials of logits (..., K), less the highest of each row."""
    return (logits - logits.amax(-1, keepdim=True)).double().exp().cpu().numpy()


@compiled
def _answer(
    vectors: Floats, recent: RecentActions, items: NDArray[np.int64], layers: _Layers, answers: HeadAnswers
) -> None:
    powers = np.empty(answers.next_type.shape[1], np.float64)
    for n in range(len(vectors)):
        _fill_exponentials(vectors[n], layers.next_type, powers)
        total = powers.sum()
        for code in range(len(powers)):
            answers.next_type[n, code] = np.divide(powers[code], total)
        _fill_exponentials(vectors[n], layers.of_user, powers)
        _fill_type_given_item(powers, layers.of_items, items[n], answers.type_given_item[n])
    _fill_purchases(recent, layers.purchase, answers.purchase)


@uncounted
def _fill_exponentials(vector: Floats, linear: _LinearLayer, powers: NDArray[np.float64]) -> None:
    """Fills in exponentials (K,) of a layer's logits, less the highest."""
    highest = -np.inf
    for code in range(len(powers)):
        powers[code] = linear.biases[code] + dot(linear.weights[code], vector)
        highest = max(highest, powers[code])
    for code in range(len(powers)):
        powers[code] = np.exp(powers[code] - highest)


@uncounted
def _fill_type_given_item(
    of_user: NDArray[np.float64], of_items: NDArray[np.float64], items: NDArray[np.int64], shares: Floats
) -> None:
    """Fills in an answer's probabilities (k, K) of the next type on each ranked item (k,).

    The softmax of a sum is a product of exponentials, scaled: the user's (K,) and each item's, of all items (I, K).
    """
    for rank in range(len(items)):
        item, total = items[rank], 0.0
        for code in range(len(of_user)):
            total += of_user[code] * of_items[item, code]
        for code in range(len(of_user)):
            shares[rank, code] = np.divide(of_user[code] * of_items[item, code], total)


@compiled
def _fill_purchases(recent: RecentActions, head: _PurchaseLayers, probabilities: Floats) -> None:
    """Fills in the calibrated probabilities (N,) of a purchase."""
    features, units = np.empty(NUM_FEATURES, np.int32), np.empty(len(head.biases), np.float32)
    for n in range(len(probabilities)):
        fill_features(recent, n, features)
        units[:] = head.biases
        logit = head.bias
        for row in features:
            logit += head.linear[row]
            embedded = head.table[row]
            for h in range(len(units)):
                units[h] += embedded[h]
        for h in range(len(units)):
            logit += head.last[h] * max(units[h], np.float32(0))
        line = head.slope * logit + head.intercept
        probabilities[n] = np.divide(np.float32(1), np.float32(1) + np.exp(-line))
