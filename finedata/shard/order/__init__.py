"""Which sample is the n-th: pure functions, without a table or a stream."""
