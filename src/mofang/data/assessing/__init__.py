"""Assessing: one look at everything that decides whether records are worth training on, each check with its score."""
