"""What shoppers did, as the model reads it: events, their contexts and times, sequences of users, logs, batches, words.

It knows no network: nothing here learns, ranks or serves.
"""
