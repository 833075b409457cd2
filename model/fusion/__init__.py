"""The ranking that is served: candidates from the network and from item statistics, scored by a small combiner.

It reads the network's best items and vectors as arrays, and knows neither how they are learned nor where they lie.
"""
