"""The first look at a source that nobody described: its format, task, label, inputs, split, and what to be wary of."""
