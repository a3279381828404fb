"""Exporters: a dataset comes in, its annotations go out in the form another project reads."""
