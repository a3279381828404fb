"""Numbers out of stored answers, and how far they can be believed."""
