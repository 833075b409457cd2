"""Follows compacted topics without a consumer group, so that every process has all that they say.

It knows neither what records mean nor who wants to know.
"""
