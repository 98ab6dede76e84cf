"""From what a user names on a command line to a classifier of pixels with its weights.

Each source of models is a module with a function `load`; `load_model` chooses among them.
Nothing here computes a gradient or reads a picture.
"""
