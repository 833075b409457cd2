"""The worker process and its data path: from a fetch of events to predictions, the changelog and the acknowledgement.

It knows nothing of training; of a version only what serves it.
"""
