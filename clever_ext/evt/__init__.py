"""Extreme value theory: from batch maxima [rows, N_b] to the end point of their law, in NumPy.

The fit of the reverse Weibull law, its interval and p-value, and predictions from few maxima are
here. Nothing here knows a model, a gradient or a table of results, and nothing imports torch.
"""
