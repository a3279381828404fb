"""Representatives: which episodes stand for the others, and in which order."""
