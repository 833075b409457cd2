"""What the network is trained to do, as losses.

Next item: softmax over the whole vocabulary while that is small, else over a sample of it with the logQ
correction (Bengio and Senecal, 2008; Yi et al., 2019). The sample holds the targets of the batch, so the other items
of a step's own sequence are in it for certain and not by chance: for them Q is 1. With the Q of all others they would
weigh 1/Q times too much as wrong answers, and the network would learn that nobody comes back to an item.
Next type, and type given the item: cross-entropy. Purchase soon: logistic.

What is known before the network has run (which steps count, the sample, which items are candidates for certain) is
computed on the host and copied once: on a GPU each look-up would be several kernels, most with a wait for their result.

Shapes: P counted steps that an action on a known item follows, M of any type, I items, C candidates, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.data.targets import Targets
from model.data.vocabulary import ITEM_BUCKETS, Tokens
from model.kernels.cuda import all_on_device
from model.network.network import Network
from model.training.sampled_softmax import Pairs, cross_entropy

FULL_SOFTMAX_ITEMS: Final = 4096  # up to here the exact loss costs no more than a sampled one
NEGATIVES: Final = 2048  # items drawn per batch
AFTER_NEXT: Final = 0.3  # weight of the item after the next: what is looked at together is learned from fewer visits
FLATTENING: Final = 0.75  # exponent of popularity in the draw: rare items are drawn more often than they occur


@dataclass(frozen=True, slots=True)
class Sample:
    """The items that the softmax of a batch is over, its next items among them."""

    candidates: Tensor  # (C,), rising
    log_q: Tensor  # (C,): log of the chance to be a candidate
    targets: int  # next items of the batch
    whole: bool  # whether it is the whole vocabulary


class Popularity:
    """How often each item of the vocabulary is a target; draws candidates by it."""

    def __init__(self, counts: NDArray[np.int64], *, negatives: int = NEGATIVES) -> None:
        """`counts` (I,): how often each item is the next one in the training data."""
        flat = (counts + 1.0) ** FLATTENING
        self.negatives = negatives
        self._shares = torch.from_numpy(counts / max(1, counts.sum()))
        self._draws = torch.from_numpy(flat / flat.sum())
        self._cumulated = self._draws.cumsum(0)

    def sample(self, targets: Tensor, generator: torch.Generator) -> Sample:
        """Returns what the softmax of a batch with these next items (P,) is over; a small vocabulary is taken whole."""
        if len(self._draws) <= FULL_SOFTMAX_ITEMS:
            return Sample(torch.arange(len(self._draws)), torch.zeros(len(self._draws)), len(targets), whole=True)
        candidates = self.candidates(targets, generator)
        return Sample(candidates, self.log_inclusion(candidates, len(targets)), len(targets), whole=False)

    def candidates(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Draws the candidates (C,) of the targets (P,): the targets themselves and others, each once, rising.

        Were an item there twice, a target would be its own negative.
        """
        uniform = torch.rand(self.negatives, dtype=torch.float64, generator=generator)
        drawn = torch.searchsorted(self._cumulated, uniform).clamp(max=len(self._cumulated) - 1)
        unique: Tensor = torch.unique(torch.cat((targets, drawn)))
        return unique

    def log_inclusion(self, candidates: Tensor, targets: int) -> Tensor:
        """Returns log Q (C,), Q = 1 - exp(-expected count): the chance to be a candidate beside so many targets."""
        expected = targets * self._shares[candidates] + self.negatives * self._draws[candidates]
        return torch.log(-torch.expm1(-expected)).float()


class Recency:
    """The weights of actions as targets: halved for every `half_life` of all actions that came later.

    Age is counted in actions and not in days, so that a wrong clock or a quiet year changes nothing; the mean is 1.
    """

    def __init__(self, times: NDArray[np.int64], half_life: float) -> None:
        """`times` (N,), rising, are those of all actions or of a sample; `half_life` is a share of them."""
        self._times = times
        self._half_life = half_life * max(1, len(times))
        self._scale = 1.0
        self._scale = 1.0 / float(self.weights(times).mean()) if len(times) else 1.0

    def weights(self, times: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the weights of actions at these times, same shape."""
        later = len(self._times) - np.searchsorted(self._times, times, side="right")
        return (self._scale * 0.5 ** (later / self._half_life)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Losses:
    """Each loss is a mean over the steps it is about, in nats; a scalar."""

    item: Tensor
    next_type: Tensor
    type_given_item: Tensor
    purchase: Tensor

    def total(self, side_weight: float) -> Tensor:
        """Returns what training minimises: the next item's loss, and the others with less weight."""
        return self.item + side_weight * (self.next_type + self.type_given_item + self.purchase)

    def stacked(self) -> Tensor:
        """Returns all four, in order of the fields."""
        return torch.stack((self.item, self.next_type, self.type_given_item, self.purchase))

    def values(self) -> dict[str, float]:
        """Returns the losses by name, fetched from the device in one copy."""
        return dict(zip(self.__slots__, self.stacked().tolist(), strict=True))


def losses_of(
    network: Network,
    tokens: Tokens,
    targets: Targets,
    weights: Tensor,
    sample: Sample,
    rows: Tensor | None = None,
) -> Losses:
    """Computes all losses of one batch, with `weights` (B, T) of the next items.

    The tokens are on the network's device; targets, weights and the sample for the batch are on the host.

    With `rows`, only what these rows of the batch add to the losses: with the same draws, the shares of disjoint rows
    add up to the losses of the batch.
    """
    batch = targets
    if rows is not None:
        tokens, targets, weights = tokens[rows], targets[rows], weights[rows]
    known, on_item, has_next, counted = targets.next_known, targets.next_on_item, targets.has_next, targets.counted
    next_items = NextItems(targets.next_rows[known] - ITEM_BUCKETS, known.nonzero()[:, 0], weights[known])
    at_known, at_item, at_next, at_counted, rows_on_item, types, types_on_item, purchase_soon = all_on_device(
        (
            *(_flat_indices(steps) for steps in (known, on_item, has_next, counted)),
            *(targets.next_rows[on_item], targets.next_types[has_next], targets.next_types[on_item]),
            targets.purchase_soon[counted],
        ),
        tokens.items.device,
    )
    vectors = network(tokens)[1].flatten(0, 1)
    of_items = network.type_given_item_logits(vectors[at_item], network.item_vectors(rows_on_item))
    purchases = network.purchase_soon_logits(vectors[at_counted])
    return Losses(
        item=item_loss(network, vectors[at_known], next_items, sample),
        next_type=_cross_entropy(network.type_logits(vectors[at_next]), types, batch.has_next),
        type_given_item=_cross_entropy(of_items, types_on_item, batch.next_on_item),
        purchase=_purchase_loss(purchases, purchase_soon, batch.counted),
    )


def _flat_indices(steps: Tensor) -> Tensor:
    """Returns the flat indices of the steps (B, T) that are true."""
    return steps.flatten().nonzero().squeeze(1)


@dataclass(frozen=True, slots=True)
class NextItems:
    """The next items of P steps; each tensor is (P,), on the host."""

    items: Tensor  # in 0..I-1
    sequences: Tensor  # the row of the batch of each, rising
    weights: Tensor

    def labels(self, columns: Tensor) -> tuple[Pairs, Tensor]:
        """Returns the labels by rising step, the next item and the one after it, and their weights; columns (P,)."""
        steps = torch.arange(len(columns))
        continued = (self.sequences[:-1] == self.sequences[1:]).nonzero().squeeze(1)
        rows, order = torch.cat((steps, continued)).sort(stable=True)
        weights = torch.cat((self.weights, AFTER_NEXT * self.weights[continued]))
        return Pairs(rows, torch.cat((columns, columns[continued + 1]))[order]), weights[order]

    def of_same_sequence(self, columns: Tensor) -> Pairs:
        """Pairs every step with the columns (P,) of the other next items of its sequence."""
        sizes = torch.unique_consecutive(self.sequences, return_counts=True)[1]
        steps = torch.arange(len(columns))
        mates = sizes.repeat_interleave(sizes)  # steps of its sequence, itself included
        rows = steps.repeat_interleave(mates)
        firsts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        others = torch.arange(len(rows)) - (mates.cumsum(0) - mates - firsts)[rows]
        return Pairs(rows[rows != others], columns[others[rows != others]])


def item_loss(network: Network, vectors: Tensor, targets: NextItems, sample: Sample) -> Tensor:
    """Returns the cross-entropy of the next item and, with less weight, of the one after it, by vectors (P, D).

    It is the sum over these targets, by the number of all targets of the batch.
    """
    columns = torch.searchsorted(sample.candidates, targets.items)
    always = targets.of_same_sequence(columns) if not sample.whole else Pairs(columns[:0], columns[:0])
    labels, weights = targets.labels(columns)
    rows, log_q, always_rows, always_columns, label_rows, label_columns, weights = all_on_device(
        (
            *(sample.candidates + ITEM_BUCKETS, sample.log_q),
            *(always.rows, always.columns, labels.rows, labels.columns, weights),
        ),
        vectors.device,
    )
    always, labels = Pairs(always_rows, always_columns), Pairs(label_rows, label_columns)
    loss = cross_entropy(network.queries(vectors), network.item_vectors(rows), log_q, always, labels, weights)
    return loss / max(1, sample.targets)


def _cross_entropy(logits: Tensor, targets: Tensor, averaged: Tensor) -> Tensor:
    """Returns the mean over the steps of the batch to average over; without any it is 0, not NaN."""
    return F.cross_entropy(logits, targets, reduction="sum") / max(1, int(averaged.sum()))


def _purchase_loss(logits: Tensor, labels: Tensor, averaged: Tensor) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum")
    return losses / max(1, int(averaged.sum()))
