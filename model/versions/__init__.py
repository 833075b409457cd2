"""Versions of the model as bytes on disk: saved, verified, listed, deleted. It does not know which version serves."""
