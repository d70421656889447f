"""``mofang new`` on files in the shapes that people have."""
