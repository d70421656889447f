"""Watch (a door, nothing behind it yet): health, drift, feedback and alerts over what is served will live here."""
