"""The network: a backbone over actions, and heads for the next item, the next type and a coming purchase.

The purchase probability that is served comes from `purchase`, which does not read the vectors. `purchase_soon` reads
them and serves the training only: vectors that predict purchases rank better.

Shapes: B sequences, T steps, D width of embeddings and vectors, S numbers of state, I items, K event types.
`step` and `forward` compute the same function, one action at a time and whole sequences at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.contexts import CONTEXT_ROWS, CONTEXT_SLICES, ITEM_ATTRIBUTES
from model.data.events import EVENT_TYPES, SEARCH
from model.data.queries import BUCKETS
from model.data.vocabulary import ITEM_BUCKETS, Tokens
from model.network.backbones import BACKBONES, BackboneName, MakeBackbone
from model.network.purchase_head import PurchaseHead
from model.network.row_table import RowTable

WordRows = Literal[4_096, 65_536]  # of the table of words; row 0 stands for no word
SMALL_WORDS: Final = 4_096  # of a log without searches, and of versions before there were more
LARGE_WORDS: Final = 65_536
WORDS_READ: Final[dict[WordRows, int]] = {SMALL_WORDS: 5, LARGE_WORDS: 12}  # of a search, the first ones


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes that the weights depend on, and the regularisation they were trained with."""

    items: int
    backbone: BackboneName = "gru"
    width: int = 128
    hidden: int = 128
    logit_scale: float = 16.0  # factor of the cosine between vector and item: a temperature of 1/16
    embedding_dropout: float = 0.25
    vector_dropout: float = 0.25
    word_rows: WordRows = SMALL_WORDS


class Network(nn.Module):
    """P(next type | actions) and P(next item | actions, the next action has an item)."""

    def __init__(self, config: NetworkConfig, make_backbone: MakeBackbone | None = None) -> None:
        """`make_backbone` replaces the backbone that `config` names: for comparisons, such a network is not saved."""
        super().__init__()
        self.config = config
        width = config.width
        self.items = RowTable(ITEM_BUCKETS + config.items, width)
        self.contexts = nn.Embedding(CONTEXT_ROWS, width, padding_idx=0)
        self.words = RowTable(config.word_rows, width, padding_idx=0)
        # Rows of the context table: the category and the brand of each item, as last seen. The name is that in files.
        self.sides = nn.Buffer(torch.zeros(ITEM_BUCKETS + config.items, len(ITEM_ATTRIBUTES), dtype=torch.int64))
        self.backbone = (make_backbone or BACKBONES[config.backbone])(width, config.hidden)
        self.vector = nn.Linear(self.backbone.output_size + width, width)
        self.next_type = nn.Linear(width, len(EVENT_TYPES))
        self.type_by_vector = nn.Linear(width, len(EVENT_TYPES))
        self.type_by_item = nn.Linear(width, len(EVENT_TYPES), bias=False)
        self.purchase_soon = nn.Linear(width, 1)
        self._initialise()
        self.purchase = PurchaseHead()  # drawn last, so that the weights above do not depend on it

    @property
    def row_tables(self) -> dict[str, RowTable]:
        """The tables of which a step reads few rows, by name."""
        return {"items": self.items, "words": self.words}

    def _initialise(self) -> None:
        for table in (self.items, self.words, self.contexts):
            nn.init.normal_(table.weight, std=self.config.width**-0.5)
        with torch.no_grad():
            for name in ("boundaries", "gaps", "prices"):
                self.contexts.weight[CONTEXT_SLICES[name]] *= 0.1
            for padded in (self.contexts, self.words):
                padded.weight[0].zero_()
        self._initialise_as_blend()

    def _initialise_as_blend(self) -> None:
        """Makes vectors begin near a blend of the user's items, so that coming back to them need not be learned."""
        width, outputs = self.config.width, self.backbone.output_size
        with torch.no_grad():
            self.vector.weight.mul_(0.3)
            self.vector.weight[:, :outputs].add_(torch.eye(width, outputs))
            self.vector.weight[:, outputs:].add_(torch.eye(width), alpha=0.5)

    def embed(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Returns the embedded item (or the mean of the query's words) and the whole input of a step, (..., D) each."""
        embedded = self.items(tokens.items)
        if tokens.words.shape[-1]:
            words = self.words.means(self.word_rows(tokens.words))
            embedded = torch.where(tokens.searches.unsqueeze(-1), words, embedded)
        embedded = F.dropout(embedded, self.config.embedding_dropout, self.training)
        return embedded, embedded + self._context_sums(tokens.contexts)

    def word_rows(self, words: Tensor) -> Tensor:
        """Returns the rows of the words that are read, (..., W) buckets -> (..., at most W)."""
        words, rows = words[..., : WORDS_READ[self.config.word_rows]], self.config.word_rows - 1
        return words if rows >= BUCKETS else torch.where(words > 0, 1 + (words - 1) % rows, 0)

    def _context_sums(self, rows: Tensor) -> Tensor:
        """Returns the sums (..., D) of rows (..., n) of the context table, padding left out."""
        # Row 0 is zero: without gradients to keep from it, a sum that does not look for it takes half the time.
        padding = 0 if torch.is_grad_enabled() else None
        bags = F.embedding_bag(rows.flatten(0, -2), self.contexts.weight, mode="sum", padding_idx=padding)
        return bags.view(*rows.shape[:-1], self.config.width)

    def step(self, tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
        """Takes one action of each of B users: tokens (B,), state (B, S) -> state (B, S), vectors (B, D)."""
        embedded, inputs = self.embed(tokens)
        state, outputs = self.backbone.step(inputs, state)
        return state, self._vector(outputs, embedded)

    def forward(self, tokens: Tokens, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Takes whole sequences: tokens (B, T), state (B, S) before them -> states (B, T, S), vectors (B, T, D)."""
        embedded, inputs = self.embed(tokens)
        states, outputs = self.backbone(inputs, state)
        return states, self._vector(outputs, embedded)

    def readout(self, tokens: Tokens, state: Tensor) -> Tensor:
        """Returns the vectors (B, D) of users, from their state (B, S) and the last action (B,) that led to it."""
        embedded, inputs = self.embed(tokens)
        return self._vector(self.backbone.readout(inputs, state), embedded)

    def initial_state(self, users: int) -> Tensor:
        """Returns the state before any action, (B, S)."""
        return self.items.weight.new_zeros(users, self.backbone.state_size)

    def _vector(self, outputs: Tensor, embedded: Tensor) -> Tensor:
        vectors = self.vector(torch.cat((outputs, embedded), -1))
        return F.dropout(vectors, self.config.vector_dropout, self.training)

    def item_vectors(self, rows: Tensor | None = None) -> Tensor:
        """Returns unit vectors (N, D) of item rows; by default of the whole vocabulary, buckets left out.

        An item's vector sums its own, its category's and its brand's: these say what a rare item goes with.
        """
        table = self.items.weight[ITEM_BUCKETS:] if rows is None else self.items(rows)
        attributes = self.item_attributes[ITEM_BUCKETS:] if rows is None else self.item_attributes[rows]
        return F.normalize(table + F.embedding_bag(attributes, self.contexts.weight, mode="sum", padding_idx=0), dim=-1)

    @property
    def item_attributes(self) -> Tensor:
        """Category and brand (R, 2) of every item row, as rows of the context table; 0: not known."""
        return self.sides

    def set_item_attributes(self, rows: Tensor, attributes: Tensor) -> None:
        """Takes in category and brand (N, 2), as rows of the context table, of item rows (N,); 0: not known."""
        known = self.item_attributes
        rows, attributes = rows.to(known.device), attributes.to(known.device)
        known[rows] = torch.where(attributes > 0, attributes, known[rows])

    def queries(self, vectors: Tensor) -> Tensor:
        """Scales vectors (..., D) so that their products with item vectors are the item logits."""
        return F.normalize(vectors, dim=-1) * self.config.logit_scale

    def type_logits(self, vectors: Tensor) -> Tensor:
        """Returns the logits of the next action's type, (..., K)."""
        return self.next_type(vectors)  # type: ignore[no-any-return]

    def type_given_item_logits(self, vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """Returns the logits of the type (..., K) of a next action on a given item."""
        return self.type_by_vector(vectors) + self.item_type_logits(item_vectors)  # type: ignore[no-any-return]

    def item_type_logits(self, item_vectors: Tensor) -> Tensor:
        """Returns the item's share in `type_given_item_logits`, (..., K); -inf for a search: it is not on an item."""
        return without_search(self.type_by_item(item_vectors))

    def purchase_soon_logits(self, vectors: Tensor) -> Tensor:
        """Returns the logit (...) of a purchase within the horizon, from the vectors."""
        return self.purchase_soon(vectors).squeeze(-1)  # type: ignore[no-any-return]


def without_search(logits: Tensor) -> Tensor:
    """Returns logits of types (..., K) with -inf for a search."""
    return logits.index_fill(-1, torch.tensor([SEARCH], device=logits.device), float("-inf"))
