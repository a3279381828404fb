"""Annotation: prompts, staged facts, reasoning traces, and the check against the motion."""
