"""Fit: train families of models on a snapshot, choose among them within a budget, export the winner as a
graph.
"""
