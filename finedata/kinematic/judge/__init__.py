"""The judge of what others say of a motion: one claim, one verdict, one number."""
