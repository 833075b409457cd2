"""Reads a shop's own log for the demo: its events in the order of time, its items, and what the shop shows today."""
