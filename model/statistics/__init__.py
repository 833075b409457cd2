"""What the stream says about items, live: what follows what, what is popular of late, that an item exists at all.

It knows no network and no version: rows of items are its own, in the order in which the items came.
"""
