"""The contract: events, predictions and dead letters as other programs send and receive them.

Knows bytes, fields and topic names; knows neither a Kafka client nor a file.
"""
