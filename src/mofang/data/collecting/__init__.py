"""The parts of collect: choosing columns, converting rows, pieces that are read side by side, and what is taken over."""
