"""The parts of a snapshot: sides that stay, growth since an earlier one, times, what one cleaning hands on."""
