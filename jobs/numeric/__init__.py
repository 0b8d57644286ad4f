"""Plain NumPy: helpers for flat arrays of pairs, and metrics of ranked lists. Knows neither the lake nor the shop."""
