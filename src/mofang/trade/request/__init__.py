"""From a request to its answer: key, limits, reservation, prediction, one durable commit."""
