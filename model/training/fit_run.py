"""What all fits of a round share: where they run, their seed, who hears of their steps, and their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.training.checkpoints import NO_CHECKPOINTS, Checkpoints


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit is after a step."""

    step: int  # from 1
    steps: int  # in all
    losses: dict[str, float]  # of this step, by the names in `Losses`


Tell = Callable[[str, Progress], None]  # hears of each step: the stage, and how far it is; may raise to end the fit


def tell_nobody(_stage: str, _progress: Progress) -> None:
    """Ignores a step."""


@dataclass(frozen=True, slots=True)
class FitRun:
    """How fits are run, whatever they fit."""

    device: torch.device
    seed: int  # on a CPU it fixes the result
    tell: Tell = tell_nobody
    checkpoints: Checkpoints = NO_CHECKPOINTS  # each fit takes the next of them
