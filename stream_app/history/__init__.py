"""The history: the events that the trainer has read, kept in Parquet files that say which offsets they cover.

Knows files, folders and object stores; knows neither a Kafka client nor the model's network.
"""
