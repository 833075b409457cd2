"""How good rankings and probabilities are: splits, rankers, baselines, metrics, the gate. It trains no network."""
