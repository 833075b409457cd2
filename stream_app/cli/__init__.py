"""The command line: each command turns its options into settings and calls the room that does the work."""
