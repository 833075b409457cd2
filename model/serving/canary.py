"""A canary: for a while some users stay with the version before, so that both are measured at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import item_object
from model.serving.serving import Serving

_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Canary:
    """Who stays with which version: by a hash of the user id, so the same users in every worker."""

    before: Serving
    share: float

    def stays(self, users: Sequence[str]) -> NDArray[np.bool_]:
        """Which of N users stay with the version before, (N,)."""
        parts = np.array([item_object(user) % _PARTS for user in users], np.float64)
        return parts < self.share * _PARTS
