"""The words of a source: instructions, steps, and where they stand."""
