"""Turn what a graph puts out into what a customer reads."""
