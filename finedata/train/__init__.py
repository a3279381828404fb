"""Fine-tuning of vision-language-action models from shards."""
