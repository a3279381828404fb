"""Words for motion, and motion in words."""
