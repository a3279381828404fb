"""What a teacher is asked, shown, and how its answers come back."""
