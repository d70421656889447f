"""Fitting of features: what an operator needs to know is learned here, from rows of the training part only."""
