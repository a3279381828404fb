"""Distances between the episodes of a task, in tiles of bounded size."""
