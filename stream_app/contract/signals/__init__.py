"""What is told of users beside the answers to their events, as subscribers read it."""
