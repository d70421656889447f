"""The text kernel: one vectorised tokenisation of a batch of texts, from which language, quality, repetition and shingles
are counted as columns before anything is decided."""
