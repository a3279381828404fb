"""The pose proof: what else bytes could mean, and how far each reading lands."""
