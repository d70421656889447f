"""Where records come from and how their bytes are read: files, archives, formats, encodings."""
