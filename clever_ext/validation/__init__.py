"""How far scores can be believed on a network of the user's: beside the nearest flips of attacks.

Attacks are those of other libraries, which are imported late and need not be there. What they claim
is not believed: every point is measured by the network itself. Scores are made by `evaluating`, and
nothing here makes one in another way.
"""
