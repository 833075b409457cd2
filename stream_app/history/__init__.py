"""The history: the events that the trainer has read, in Parquet files that name the offsets they cover.

Knows files, folders and object stores; knows neither a Kafka client nor the model's network.
"""
