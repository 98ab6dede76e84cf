"""What scores are held against: exact radii and certified bounds of networks where they can be had.

Run its modules from `benchmarks`: `python -m truth.exact`.
"""
