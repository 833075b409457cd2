"""Tells people what came of a stream: how often the next item was among those that were said, beside what others say.

It knows no Kafka and no process: events and predictions are handed to it.
"""
