"""The steepest place of a ball, by search: a lower bound of the Lipschitz constant.

The estimator is `scores`; the other modules are its search.
"""
