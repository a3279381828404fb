"""Gate and checks: a verdict with its reasons for every episode; nothing is deleted."""
