"""Clustering of episodes: distances, linkage, representatives.

Within a task, episodes are numbered 0, 1, ... in the order of their ids, and every tie goes to
the lower number: so an answer depends on the episodes, never on the order in which they came.
Distances come condensed, in SciPy's order: (0,1), (0,2) ... (1,2) ...
"""
