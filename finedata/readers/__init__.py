"""Bytes of a source to raw episodes: one module per file family, never per dataset."""
