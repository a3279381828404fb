"""Gate and checks: a dataset comes in, a verdict with its reasons for every episode goes out."""
