"""MP4 without a decoder: boxes, tracks, and where each sample lies."""
