"""Plain NumPy: arrays of pairs and metrics of ranked lists. It knows neither lake nor shop."""
