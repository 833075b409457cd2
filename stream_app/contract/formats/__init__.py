"""The formats of events other than nextact's plain one: each module reads one, and knows nothing of the others."""
