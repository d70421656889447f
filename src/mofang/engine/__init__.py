"""Turn a request into arrays, run them on the measured engine, and turn the result into an answer.

Nothing on this floor imports torch: a serving process is this floor and what stands on it.
"""
