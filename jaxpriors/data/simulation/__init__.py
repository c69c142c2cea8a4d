"""Samples of our own making: Pythia recipes and a parametric detector (extra `simulation`)."""
