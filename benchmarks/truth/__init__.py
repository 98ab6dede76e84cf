"""What is known for certain of some networks, and what the scores say of them.

Run its modules from `benchmarks`: `python -m truth.exact`.
"""
