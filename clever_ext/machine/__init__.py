"""The computer that the program runs on: its memory, its limits, and whether our build works on it.

Nothing here knows what is computed.
"""
