"""The transformer of the benchmarks; that it is a backbone is tested beside the other ones, in `test_backbones.py`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from model.data.vocabulary import Vocabulary
from model.errors import NextactError
from model.network.network import Network, NetworkConfig
from tests.bench.transformer import LAYERS, WINDOW, Transformer
from tests.skips import not_installed
from tests.unit.builders.backbones import inputs_of

WIDTH, HIDDEN = 24, 17


def needs_transformers() -> None:
    pytest.importorskip("transformers", reason=not_installed("transformers"))


@torch.inference_mode()
def test_sees_a_window_per_layer_and_no_further() -> None:
    needs_transformers()
    backbone, reach = Transformer(WIDTH, HIDDEN), LAYERS * (WINDOW - 1)
    inputs = inputs_of(12, 1, reach + 2, width=WIDTH)
    last = backbone(inputs)[1][:, -1]
    for action, seen in ((0, False), (1, True)):
        changed = inputs.clone()
        changed[:, action] *= -100
        assert torch.equal(backbone(changed)[1][:, -1], last) != seen


@torch.inference_mode()
def test_a_network_is_made_with_it() -> None:
    needs_transformers()
    network = Network(NetworkConfig(items=3, width=WIDTH, hidden=HIDDEN), Transformer).eval()
    tokens = Vocabulary("abc").tokens(np.arange(1, 13, dtype=np.uint64).reshape(2, 6), np.full((2, 6), 2, np.uint32))
    states, vectors = network(tokens)
    state = network.initial_state(2)
    for t in range(6):
        state, vector = network.step(tokens[:, t], state)
        torch.testing.assert_close(state, states[:, t], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vector, vectors[:, t], atol=1e-5, rtol=1e-5)


def test_without_its_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(NextactError, match=r"pip install 'nextact\[transformers\]'"):
        Transformer(WIDTH, HIDDEN)


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    needs_transformers()
    with pytest.raises(ValueError, match="width 6"):
        Transformer(6, 6)
