"""What an anonymous user did becomes the beginning of who they turn out to be, across partitions and workers.

Knows neither Faust's transport nor how batches are delivered.
"""
