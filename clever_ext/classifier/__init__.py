"""A classifier as it was given: how it is called and differentiated, and what makes it doubtful.

What makes it faster is in `engine`; what is done with its gradients is above.
"""
