"""The model as the user gives it: how it is called, how it is differentiated, and its checks.

No code here makes a model faster, which is the engine's work, or knows what gradients are for.
"""
