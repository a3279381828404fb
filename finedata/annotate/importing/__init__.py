"""Annotations that others released, taken over with their origin."""
