"""A converter file and raw episodes to a canonical dataset on disk: plan, work, commit."""
