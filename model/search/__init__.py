"""Finds, for query vectors, the k item vectors with the highest dot products, and their probabilities: exactly.

It knows only numbers: not what an item is, who asks, or where the vectors come from.
"""
