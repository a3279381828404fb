"""Where work runs: which processes do the tasks of a plan, without a change in what they give."""
