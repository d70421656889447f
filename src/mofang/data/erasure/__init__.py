"""Erasing one person: found in every artifact, taken out of it, and followed to what was made from it."""
