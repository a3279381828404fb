"""The pose proof: each convention read every other way it could be meant."""
