"""The computer that the program runs on: its memory, its limits, and whether our kernels work here.

No code here knows what is computed.
"""
