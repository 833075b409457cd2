"""A round of training: from a log and the champion to a challenger, its report and a verdict on it.

Knows the fit, what is measured and what serves; not Kafka, not the history, not which version is published.
"""
