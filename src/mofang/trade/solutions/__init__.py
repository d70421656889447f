"""Solutions: several models, a recipe, limits and terms as one signed file: making it, and the reader that trusts nothing."""
