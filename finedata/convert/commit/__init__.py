"""The tables that describe what was written, the marker last."""
