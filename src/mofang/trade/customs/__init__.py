"""Customisation: a customer's own model. Orders, the room where it lies, teaching, delivery, serving, deletion with proof."""
