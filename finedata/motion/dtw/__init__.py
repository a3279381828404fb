"""Dynamic time warping: one definition, on processors and on GPUs."""
