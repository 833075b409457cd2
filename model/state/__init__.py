"""The state of every user of a worker: slots in arrays, rings of last actions, and the record that a user is stored as.

It knows no network: a hidden state is so many half-precision numbers here, made by a version that has an id.
"""
