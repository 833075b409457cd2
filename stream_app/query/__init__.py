"""Answers questions over HTTP: what a user will do next, in a thread and an event loop of its own.

It knows neither Faust nor how events are delivered: whose users a worker answers, and what is known of them,
it is told.
"""
