"""While a command imports what it is built on, no collection looks for garbage; afterwards they do again."""

from __future__ import annotations

import gc

import pytest

from stream_app.cli.common import importing


@pytest.mark.parametrize("fails", [False, True])
def test_collections_come_back_and_leave_alone_what_was_imported(fails: bool) -> None:
    frozen = gc.get_freeze_count()
    try:
        if fails:
            with pytest.raises(ImportError), importing():
                raise ImportError("no such module")
        else:
            with importing():
                assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
