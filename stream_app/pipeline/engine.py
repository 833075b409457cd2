"""Makes the engine that steps a pipeline's batches."""

from __future__ import annotations

import torch

from model.serving.rules import Rules
from model.serving.state_engine import StateEngine
from model.state.user_record import FIRST_VERSION
from model.state.user_states import RecordLookup, UserStates, nothing_stored
from stream_app.settings import Settings


def new_engine(
    settings: Settings,
    device: torch.device,
    stored: RecordLookup = nothing_stored,
    *,
    slots: int = 1024,
    rules: Rules | None = None,
) -> StateEngine:
    """Makes an engine as the settings say, with room for so many users before it grows.

    `rules` may have learned something already.
    """
    states = UserStates(
        hidden=settings.hidden,
        length=settings.history_length,
        epoch=settings.stream_epoch,
        device=device,
        slots=slots,
        most=settings.users_in_memory,
        stored=stored,
    )
    if settings.write_format == "previous":
        states.version = FIRST_VERSION
    engine = StateEngine(states, rules_share=settings.rules_share, rules=rules)
    if "preferences" in settings.profile_parts:
        engine.count_preferences()
    if settings.profile_parts & {"segment", "scores"}:
        engine.follow_rhythms(segments="segment" in settings.profile_parts)
    return engine
