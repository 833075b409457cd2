"""`python -m tests.integration.exact_statistics statistics`: counts events for statistics, with counts to check."""

from __future__ import annotations

from stream_app.cli.common import settings_of, stoppable
from stream_app.statistics.process import run_statistics
from tests.unit.builders.exact_counting import exact_counting

if __name__ == "__main__":
    settings = settings_of({})
    stoppable(lambda stop: run_statistics(settings, stop, exact_counting))
