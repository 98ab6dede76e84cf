"""From what a user names on a command line to a classifier of pixels with its weights.

One module for each source; nothing here computes a gradient.
"""
