"""Fits the network to a log: losses, the optimizer's loop, checkpoints, and several processes that train together.

Knows the network and the log; not the item statistics, not what is measured, not what a round decides.
"""
