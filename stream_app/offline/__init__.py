"""Logs of a shop as files: read, judged and measured without Kafka; it knows neither workers nor the trainer."""
