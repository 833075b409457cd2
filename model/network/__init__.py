"""The network in PyTorch: backbones over actions, heads, calibration. It knows no log of events."""
