"""What of an answer is taken, repaired or refused."""
