"""Pickles of plain arrays, read without running anything in them."""
