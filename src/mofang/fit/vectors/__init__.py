"""Learning vectors of texts: what belongs together comes close, all else is pushed apart."""
