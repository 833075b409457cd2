"""Where the tests find the checkout, and the logs that lie beside some checkouts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
COMPILED: Final = ROOT / ".pytest_cache" / "numba"  # loops that one test compiled, for all
SHARED_DATA: Final = ROOT.parent / "shared" / "data"  # tests that read it skip where it is absent
