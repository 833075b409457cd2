"""Sizes of the tiles in which a GPU searches; the kernels and what launches them must agree on these."""

from __future__ import annotations

from typing import Final

BLOCK: Final = 128  # items of a tile
BLOCKS: Final = 16  # tiles of items that one program scores, one after the other
LANES: Final = 8  # groups of a block
MEMBERS: Final = BLOCK // LANES  # items of a group
ROWS: Final = 128  # queries of a tile, and half as many if they are wide
WIDEST: Final = 256  # numbers of a vector, of which a tile fits into a multiprocessor's memory
SCORED: Final = 64  # items that one program scores exactly


def rows_of_a_tile(width: int) -> int:
    """Returns how many queries of a width fit into a multiprocessor's memory beside items."""
    return ROWS if width <= ROWS else ROWS // 2
