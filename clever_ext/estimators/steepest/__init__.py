"""The steepest place of a fixed ball, by search: a lower bound of its Lipschitz constant.

`estimator` is the way in; the other modules are its search, and know no table and no fit.
"""
