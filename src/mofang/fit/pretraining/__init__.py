"""Pretraining: what a network is asked (masked, causal, permuted, next sentence, denoising), on which rows, of what shape.

The modules here hold no torch; the objective stands in ``loop/mixture.py``, the networks in ``networks/language.py``.
"""
