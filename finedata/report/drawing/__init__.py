"""Figures as SVG, out of numbers."""
