"""A world on one machine: a real Kafka, child processes and a simulated shop, for the demo and the tests.

It starts workers and trainers as processes and knows nothing of what goes on in them.
"""
