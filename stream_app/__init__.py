"""The processes: workers, the trainer and the commands, between Kafka and the model."""
