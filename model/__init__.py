"""The model: from events to probabilities. It does not know Kafka, sockets, clocks or the environment."""
