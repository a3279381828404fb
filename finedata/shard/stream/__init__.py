"""Streams: samples of shards in an exact mixture, in an order that is a function."""
