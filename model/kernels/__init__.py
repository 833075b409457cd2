"""Compiled loops and what they are built of: vector instructions, fast functions, checksums, hash tables, GPU copies.

They know arrays of numbers, not what these stand for: not a user, an event or an item.
"""
