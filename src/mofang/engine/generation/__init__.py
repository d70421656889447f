"""Generators without torch: a decoder as a graph with a cache, run step by step, and the words that it writes."""
