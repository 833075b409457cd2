"""What people do with dead letters: read the topic, list it, and replay records once they can be read.

Knows the dead letters topic; knows neither the workers nor the model.
"""
