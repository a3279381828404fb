"""A converter file proposed from names and numbers, with its doubts."""
