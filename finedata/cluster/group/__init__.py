"""Clusters of a task: how many, and which episodes."""
