"""Datasets and shards that lie elsewhere: pinned addresses, exact ranged reads, a bounded cache."""
