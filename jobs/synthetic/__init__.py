"""A made-up shop whose shoppers' true tastes are known.

Reads nothing. Writes `landing/` and the truth beside it. Next: `topshelf nightly`, then `jobs.evaluation.true_value`.
"""
