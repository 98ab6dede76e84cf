"""Both sides of a picture's robustness, by one search that needs no radius.

`estimator` is the way in, `ends` keeps what looks tell, `search` chooses them; no fixed ball here.
"""
