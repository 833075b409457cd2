"""What nextact leans on inside PyTorch and is not promised by its documents, one test per place.

An upgrade that changes it fails here. Each failure names the module of ours that would break, and why. Written for
PyTorch 2.15.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from model.network.network import Network, NetworkConfig
from model.search.coarse_scores import TorchInt8Scores
from model.training.training_state import TrainingState
from model.versions.version import _fills, _SkipFilling
from tests.paths import ROOT

CONFIG = NetworkConfig(items=9, width=8, hidden=6)


def in_another_thread(function: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


# ---- networks without memory (model/versions/version.py) ----


class Calls(TorchFunctionMode):
    """Notes the names of the functions that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("backbone", ["gru", "linear"])
def test_what_fills_tensors_passes_through_the_mode_by_these_names(backbone: Any) -> None:
    with torch.device("meta"), Calls() as calls:
        Network(NetworkConfig(items=9, backbone=backbone))
    filling = {name for name in calls.names if _fills(name)}
    known = {"__setitem__", "__imul__", "add_", "mul_", "fill_", "zero_", "normal_", "uniform_", "kaiming_uniform_"}
    known |= {"requires_grad_", "copy_", "log_", "neg_", "sub_", "div_", "clamp_"}
    assert filling <= known, f"version.py skips them by name, and must not skip {filling - known} unless it fills"
    assert {"kaiming_uniform_", "normal_", "uniform_"} <= filling, "version.py: torch.nn.init calls these by name"


@pytest.mark.parametrize("name", ["normal_", "uniform_", "kaiming_uniform_", "zeros_", "ones_", "xavier_uniform_"])
def test_functions_of_init_return_their_tensor_and_take_it_first_or_by_name(name: str) -> None:
    fill, tensor = getattr(nn.init, name), torch.ones(3, 4)
    assert fill(tensor) is tensor, "version.py returns a skipped function's tensor"
    assert fill(tensor=tensor) is tensor, "version.py finds the tensor by this name"
    before = tensor.clone()
    with _SkipFilling():
        assert fill(tensor) is tensor
        assert fill(tensor=tensor) is tensor
    assert torch.equal(tensor, before), "version.py leaves out what fills a tensor"


def test_a_network_without_memory_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    with torch.device("meta"), _SkipFilling():
        network = Network(CONFIG)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}, "version.py"
    assert torch.equal(torch.get_rng_state(), before), "version.py"


def test_filling_tensors_without_memory_still_imports_sympy() -> None:
    script = f"""
import sys, torch
from model.network.network import Network, NetworkConfig
from model.versions.version import _SkipFilling
with torch.device("meta"), _SkipFilling():
    Network({CONFIG!r})
print("sympy" in sys.modules)
with torch.device("meta"):
    Network({CONFIG!r})
print("sympy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    without, within = done.stdout.split()
    assert without == "False", "version.py: a version is loaded without what takes seconds to import"
    assert within == "True", "version.py: _SkipFilling has no reason any more"


def test_assigned_tensors_become_the_parameters_themselves() -> None:
    with torch.device("meta"):
        layer = nn.Linear(3, 2)
    tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    layer.load_state_dict(tensors, assign=True)
    assert layer.weight.data_ptr() == tensors["weight"].data_ptr(), "version.py and fusion_file.py load so"
    assert isinstance(layer.weight, nn.Parameter), "version.py"


# ---- what belongs to a thread ----


def test_the_number_of_threads_belongs_to_a_thread_that_set_and_used_it() -> None:
    """Until it computes or asks for the number, a thread takes over the last one that any thread set."""
    before = torch.get_num_threads()

    def set_and_read(count: int) -> int:
        torch.set_num_threads(count)
        return torch.get_num_threads()

    try:
        with ThreadPoolExecutor(1) as one:
            assert one.submit(set_and_read, 3).result() == 3
            assert in_another_thread(lambda: set_and_read(2)) == 2
            assert one.submit(torch.get_num_threads).result() == 3, "worker.py, trainer.py and served_ranking.py set it"
        assert torch.get_num_threads() == before, "worker.py, trainer.py and served_ranking.py set it in threads"
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def test_inference_mode_belongs_to_a_thread() -> None:
    assert torch.is_inference_mode_enabled()
    assert not in_another_thread(torch.is_inference_mode_enabled), "served_ranking.py enters it in each of its threads"


def test_tensors_made_in_inference_mode_cannot_be_written_to_outside_of_it() -> None:
    with torch.inference_mode():
        made = torch.zeros(3)
        with torch.inference_mode(False):
            usual = torch.cat((torch.zeros(2), torch.zeros(1)))
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        made[0] = 1
    usual[0] = 1
    assert not usual.is_inference(), "user_states.py makes the hidden states outside of inference mode"


@torch.inference_mode()
def test_tensors_of_inference_mode_are_read_and_written_by_numpy() -> None:
    tensor = torch.zeros(3)
    tensor.numpy()[1] = 7
    assert tensor.tolist() == [0, 7, 0], "coarse_scores.py and gru_kernel.py fill tensors by NumPy in inference mode"


# ---- memory ----


def test_arrays_are_views_of_tensors_and_halves_are_their_bits() -> None:
    states = torch.zeros(2, 3, dtype=torch.float16)
    bits = states.numpy().view(np.uint16)
    bits[1, 2] = 0x3C00
    assert states[1, 2] == 1, "gru_kernel.py changes hidden states by their bits"


@pytest.mark.parametrize("tensor", [torch.ones(4, 6).T, torch.ones(4, 6)[:, 1:3], torch.ones(1, 6).expand(5, 6)])
def test_contiguous_tensors_are_arrays_without_gaps(tensor: Tensor) -> None:
    why = "all kernels are given `.contiguous().numpy()`, whose rows must have no gaps"
    array = tensor.contiguous().numpy()
    assert array.flags.c_contiguous, why
    assert array.strides[1] == 4, why
    assert array.strides[0] == 4 * array.shape[1], why


def test_pieces_of_a_split_are_views() -> None:
    whole = torch.zeros(5)
    torch.split(whole, [2, 3])[1][0] = 1
    assert whole[2] == 1, "cuda.py copies tensors in one piece and cuts it without a copy"


# ---- arithmetic ----


def test_there_is_a_product_of_bytes_and_it_fills_a_given_tensor() -> None:
    rng = np.random.default_rng(1)
    queries, items = (torch.from_numpy(rng.integers(-127, 128, (n, 64)).astype(np.int8)) for n in (40, 100))
    products = torch.empty(40, 100, dtype=torch.int32)
    why = "coarse_scores.py leans on torch._int_mm(queries, items.T, out=...); without it, it searches another way"
    assert hasattr(torch, "_int_mm"), why
    torch._int_mm(queries, items.T.contiguous(), out=products)
    if TorchInt8Scores(torch.ones(4, 64)).is_exact():  # some processors add up in 16 bits
        assert torch.equal(products, (queries.long() @ items.long().T).int()), why


def test_weights_of_a_gru_come_in_this_order() -> None:
    gru = nn.GRU(4, 3, batch_first=True)
    into, within, into_bias, within_bias = gru.all_weights[0]
    why = (
        "backbones.py and gru_kernel.py read all_weights: gates of inputs, of the state, two biases; reset, update, new"
    )
    assert into.shape == (9, 4), why
    assert within.shape == (9, 3), why
    inputs, state = torch.randn(4), torch.randn(3)
    x, h = into @ inputs + into_bias, within @ state + within_bias
    reset, update = torch.sigmoid(x[:3] + h[:3]), torch.sigmoid(x[3:6] + h[3:6])
    new = torch.tanh(x[6:] + reset * h[6:])
    wanted = update * state + (1 - update) * new
    stepped = torch.gru_cell(inputs[None], state[None], into, within, into_bias, within_bias)[0]
    torch.testing.assert_close(stepped, wanted, msg=why)


def test_tf32_is_a_switch_that_is_off_unless_set() -> None:
    products = torch.backends.cuda.matmul
    assert products.allow_tf32 is False, "cuda.py switches it on for training only: a ranking must be exact"
    products.allow_tf32 = True
    assert products.allow_tf32 is True, "cuda.py"
    products.allow_tf32 = False


def test_errors_of_devices_are_runtime_errors() -> None:
    for error in (torch.cuda.OutOfMemoryError, torch.AcceleratorError):
        assert issubclass(error, RuntimeError), "device.py takes every RuntimeError of PyTorch for one of the device"


# ---- training that is resumed ----


def test_dropout_draws_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    F.dropout(torch.ones(9), 0.5)
    assert not torch.equal(torch.get_rng_state(), before), "fit_network.py and training_state.py keep its state"


def test_moments_of_adam_are_tensors_by_the_number_of_their_parameter() -> None:
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.Adam(parameters, fused=True)
    sum(parameter.sum() for parameter in parameters).backward()  # type: ignore[union-attr]
    optimizer.step()
    state = optimizer.state_dict()["state"]
    why = f"{TrainingState.__module__} writes them as tensors, by number and name"
    assert list(state) == [0, 1], why
    assert {name for moments in state.values() for name in moments} == {"step", "exp_avg", "exp_avg_sq"}, why
    assert all(isinstance(value, Tensor) for moments in state.values() for value in moments.values()), why
