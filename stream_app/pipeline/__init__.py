"""From bytes to bytes: records of events become predictions, users' states and dead letters, a batch at a time.

A worker runs it on what Kafka brings, an evaluation on a log of the past. It knows no Kafka client and no Faust.
"""
