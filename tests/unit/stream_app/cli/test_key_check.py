"""What `nextact doctor` says of keys and partitions; the reading is tested on a broker."""

from __future__ import annotations

import pytest

from stream_app.cli.key_check import KeySample


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (KeySample(0, 0), "no events yet"),
        (KeySample(2400, 0), "the newest 2,400 events are on the partitions of their keys"),
        (KeySample(2400, 312), "312 of the newest 2,400 events (13.0%) are on another partition"),
    ],
)
def test_a_sample_says_what_it_found(sample: KeySample, said: str) -> None:
    assert str(sample).startswith(said)
    assert ("murmur2_random" in str(sample)) == bool(sample.misplaced)
