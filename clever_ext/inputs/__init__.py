"""What a call is given besides the model (images, labels, targets), checked.

Nothing here spends a gradient.
"""
