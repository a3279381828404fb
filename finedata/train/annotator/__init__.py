"""A vision-language model that learns to annotate."""
