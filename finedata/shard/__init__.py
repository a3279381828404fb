"""WebDataset shards: pixels written once, words and numbers beside them, draws scheduled."""
