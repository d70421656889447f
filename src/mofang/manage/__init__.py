"""Manage (a door, nothing behind it yet): people, projects, risks, resources and the queue of long runs will live here."""
