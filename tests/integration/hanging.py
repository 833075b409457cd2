"""`nextact` with something that hangs for ever at the n-th batch: `python -m tests.integration.hanging worker`.

NEXTACT_TEST_HANG says where: `device` (the thread that computes) or `loop` (the event loop).
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any, Final

from stream_app.agent import Consumption
from stream_app.cli import main
from stream_app.pipeline import Pipeline

_NTH: Final = 3
_PLACES: Final = {"device": (Pipeline, "advance"), "loop": (Consumption, "_deliver_later")}


def hang(owner: Any, name: str) -> None:
    """Has the n-th call of a method never return."""
    calls, original = itertools.count(1), getattr(owner, name)

    def hanging(*arguments: Any) -> Any:
        if next(calls) >= _NTH:
            threading.Event().wait()
        return original(*arguments)

    setattr(owner, name, hanging)


if __name__ == "__main__":
    hang(*_PLACES[os.environ["NEXTACT_TEST_HANG"]])
    main()
