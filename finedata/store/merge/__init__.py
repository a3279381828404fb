"""Datasets made of datasets: joined, or some episodes of one."""
