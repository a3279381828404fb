"""Compiled loops over the tracks of an episode."""
