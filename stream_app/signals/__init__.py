"""What is told of users beside the answers to their events: what only silence says, and who belongs to an audience.

It knows neither how users are stepped nor how records are delivered.
"""
