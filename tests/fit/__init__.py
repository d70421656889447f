"""Tests of the fit floor."""
