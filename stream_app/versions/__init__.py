"""Which model version serves: promotions, rollbacks, and the workers' reports on a new version.

Knows the models topic and the registry; knows no events and does not train.
"""
