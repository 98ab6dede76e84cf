"""The compiled operations and the plain references that they are compared with: balls and norms.

Nothing here knows a model, an image of a user, or an estimator.
"""
