"""Extreme value theory: from batch maxima [rows, N_b] to the end point of their law, in numpy.

No torch, no model and no table of results.
"""
