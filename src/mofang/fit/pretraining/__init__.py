"""Pretraining: what a network is asked (masked, causal, permuted, next sentence, denoising), on which rows, of what shape.

The modules that build tensors need torch and are imported when pretraining starts.
"""
