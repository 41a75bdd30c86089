"""Exact brute force in memory: the oracle that other backends are compared with, and the example for plugin authors."""
