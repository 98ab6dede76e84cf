"""What a call returns: the table of its rows, and the numbers and pictures made of it.

Nothing here scores; a result can be read where no model is.
"""
