"""The catalogue of a process: follows the items topic, keeps what it has read on disk, and says what is not an item.

It knows the topic and the columns; it knows neither the workers nor the trainer, whom it serves.
"""
