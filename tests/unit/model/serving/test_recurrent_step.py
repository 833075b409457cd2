"""Steps by tensor operations, against the network's own step, user after user; and which stepper a network gets."""

from __future__ import annotations

import pytest
import torch

from model.network.backbones import BackboneName
from model.serving import recurrent_step
from model.serving.gru_kernel import CompiledStep
from model.serving.recurrent_step import TensorStep, stepper_of
from tests.unit.builders.basics import CPU
from tests.unit.builders.steppers import check_steps, make_network


@pytest.mark.parametrize("backbone", ["gru", "linear"])
@pytest.mark.parametrize("at_once", [1, 7, 64])
@torch.inference_mode()
def test_a_step_by_tensors_equals_the_networks_however_many_at_once(
    backbone: BackboneName, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent_step, "_AT_ONCE", at_once)
    network = make_network(24, 16, backbone)
    check_steps(network, TensorStep(network, CPU), (64, 10, 1))


@pytest.mark.parametrize(
    ("backbone", "device", "kind"),
    [("gru", "cpu", CompiledStep), ("linear", "cpu", TensorStep), ("gru", "cuda", TensorStep)],
)
def test_gated_units_on_the_cpu_get_the_compiled_step(backbone: BackboneName, device: str, kind: type) -> None:
    assert type(stepper_of(make_network(24, 16, backbone), torch.device(device))) is kind
