"""Keeps the statistics of items on a topic of their own: one process counts events, all others follow.

It knows topics, offsets and processes; it knows neither how events are counted nor what the counts are good for.
"""
