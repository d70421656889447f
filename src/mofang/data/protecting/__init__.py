"""Personal data: found in texts and columns, masked, pseudonymised, generalised, counted under a privacy budget."""
