"""Records written as files that other tools read, and read back as the same records."""
