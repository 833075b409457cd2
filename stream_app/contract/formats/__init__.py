"""The formats of events other than nextact's plain one: a module for each, which knows nothing of the others, and what
they share."""
