"""The demo: the walk through every verb, over a small packed corpus."""
