"""The demo: a small corpus in a source's own bytes, and the walk through every verb."""
