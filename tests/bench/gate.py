"""How often the gate promotes a version that is worse, equal or better: `python -m tests.bench gate`, by simulation.

Challenger and champion differ on a share of the targets. Some users differ from the others as a whole (all of their
targets are lost, won or the same together), as many as give the within-user correlation of real logs.
Shapes: N targets.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.evaluation.evaluate import Evaluation
from model.evaluation.gate import DEPTH, PROMOTED, GateConfig, Reason, judge
from model.evaluation.purchase_quality import PurchaseLosses
from model.evaluation.ranking import MISSED, Ranking

# Measured on JData, on slices of a tenth from 50 and from 80 % on: targets of a user (median 3, a tenth has 10 or more,
# a hundredth 28 or more: a log-normal distribution), and the correlation within users of the difference between the
# hits of two rankers (rules, own items, transitions: 0.045 to 0.09).
MEDIAN: Final = 3.0  # targets
SPREAD: Final = 0.92  # standard deviation of the logarithm of the targets
CORRELATION: Final = 0.09  # of two differences of one user
RECALL: Final = 0.3  # of the champion
DISCORDANT: Final = 0.06  # share of the targets on which the two differ, where they are equal on average
TARGETS: Final = (300, 1_000, 3_000, 10_000, 30_000)
TRUE_GAINS: Final = (-0.02, -0.01, -0.005, 0.0, 0.01)  # of Recall@20

_NOTHING: Final = Ranking({}, {}, {})
_NO_PURCHASES: Final = PurchaseLosses(np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Simulated:
    """A challenger and a champion on the same targets."""

    targets: int
    gain: float  # true difference of Recall@20

    def verdict(self, randomness: np.random.Generator, config: GateConfig = GateConfig()) -> Reason:  # noqa: B008
        """Draws both on new users, and judges."""
        owners = _users(self.targets, randomness)
        champion = np.where(randomness.random(self.targets) < RECALL, _ranks(self.targets, randomness), MISSED)
        drawn = _shared_within_users(owners, randomness)
        lost, won = (DISCORDANT - self.gain) / 2 / RECALL, (DISCORDANT + self.gain) / 2 / (1 - RECALL)
        challenger = champion.copy()
        challenger[(champion <= DEPTH) & (drawn < lost)] = MISSED
        gained = (champion > DEPTH) & (drawn > 1 - won)
        challenger[gained] = _ranks(int(gained.sum()), randomness)
        return judge(_evaluation(challenger, owners), _evaluation(champion, owners), 1e-4, config).reason


def gate(options: argparse.Namespace) -> dict[str, Any]:
    """Prints the share of versions that are promoted, by targets and by how much better or worse they truly are."""
    repeats, randomness = options.repeats or 1000, np.random.default_rng(1)
    print(f"share promoted of {repeats:,} versions whose Recall@20 is truly so many points better or worse")
    print(f"{'targets':>8} " + " ".join(f"{100 * gain:+7.1f}" for gain in TRUE_GAINS))
    found: dict[str, Any] = {}
    for targets in TARGETS:
        shares = [promoted_share(Simulated(targets, gain), repeats, randomness) for gain in TRUE_GAINS]
        found[str(targets)] = dict(zip(map(str, TRUE_GAINS), shares, strict=True))
        print(f"{targets:8,} " + " ".join(f"{share:7.3f}" for share in shares), flush=True)
    return found


def promoted_share(simulated: Simulated, repeats: int, randomness: np.random.Generator) -> float:
    """Returns the share of so many challengers that the gate promotes."""
    reasons = [simulated.verdict(randomness) for _ in range(repeats)]
    return sum(reason in PROMOTED for reason in reasons) / repeats


def _users(targets: int, randomness: np.random.Generator) -> NDArray[np.int64]:
    sizes = np.maximum(1, MEDIAN * np.exp(SPREAD * randomness.normal(size=targets))).astype(np.int64)
    return np.repeat(np.arange(targets), sizes)[:targets]


def _shared_within_users(owners: NDArray[np.int64], randomness: np.random.Generator) -> NDArray[np.float64]:
    """Draws numbers from 0 to 1 (N,); a share CORRELATION of the users has one number for all of its targets."""
    users = int(owners.max()) + 1
    alike, of_user = randomness.random(users) < CORRELATION, randomness.random(users)
    return np.where(alike[owners], of_user[owners], randomness.random(len(owners)))


def _ranks(number: int, randomness: np.random.Generator) -> NDArray[np.int64]:
    """Draws ranks of hits: a rank is as rare as it is low."""
    weights = 1 / np.arange(1, DEPTH + 1)
    return randomness.choice(np.arange(1, DEPTH + 1), number, p=weights / weights.sum())


_evaluation_of = partial(
    Evaluation,
    served=_NOTHING,
    network=_NOTHING,
    rules=_NOTHING,
    popularity=_NOTHING,
    type_accuracy=0.5,
    type_log_loss=1.0,
    rules_type_log_loss=1.0,
    purchases=_NO_PURCHASES,
)


def _evaluation(ranks: NDArray[np.int64], owners: NDArray[np.int64]) -> Evaluation:
    return _evaluation_of(
        targets=len(ranks),
        steps=len(ranks),
        positions=np.arange(len(ranks)),
        owners=owners,
        served_ranks=ranks,
        rules_ranks=np.full(len(ranks), MISSED),
    )
