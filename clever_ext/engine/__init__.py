"""Fast passes: the model is prepared, trials find the best batch, and a loop samples the balls.

No code here changes a score by more than rounding, or knows an estimator.
"""
