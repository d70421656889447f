"""Web: the HTTP faces; they parse, authorise, call one function below and render."""
