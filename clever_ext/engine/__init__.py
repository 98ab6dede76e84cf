"""How passes are made fast: a model prepared, the best batch found by trial, and the loop itself.

Nothing here may change a sample or a score beyond rounding, or know an estimator.
"""
