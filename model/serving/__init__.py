"""What a worker runs: a version made ready to answer, the engines that step and answer, the rules, the online scores.

It knows no Kafka and no clock, and nothing of how a version is trained.
"""
