"""What the shop sells: a catalogue of items in columns and string tables, and what it adds to a shopper's action.

It knows no shopper and no network, and not where its records come from.
"""
