"""The compiled operations on balls and norms, and the plain references that they must agree with.

Tensors go in and out. Nothing here knows a model, a picture of a user, or an estimator.
"""
