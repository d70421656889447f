"""The floor of people."""
