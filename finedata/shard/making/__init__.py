"""Shards made: planned, cut, written, finished."""
