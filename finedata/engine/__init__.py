"""Where work runs: functions and arguments come in, results go out as they finish."""
