"""Judge: how good a model is, with intervals, beside a simple baseline; it decides nothing, it measures."""
