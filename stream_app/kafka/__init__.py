"""Kafka for every process: topics, offsets, publishing events and encoding record batches.

Knows records and topics; knows neither files nor model versions.
"""
