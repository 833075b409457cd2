"""The trainer's process: reads the events topic into the history, trains in rounds and publishes what wins.

Shares nothing with the workers but the topics and the registry; it does not know how events are served.
"""
