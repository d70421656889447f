"""Tests of the judge floor."""
