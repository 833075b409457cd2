"""What is done with an item, given that it is the next one: the softmax of the user's logits and the item's together.

The exponential of a sum is a product, so those of the items are taken once, when a version is made ready, and an
answer multiplies. Exponentials are float64, in which logits that lie 700 apart are still told apart.
Shapes: N answers, k ranked items, K event types, I items of the catalogue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiled import compiled


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
