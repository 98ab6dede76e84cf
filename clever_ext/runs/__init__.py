"""Runs over many pictures: folders of results that survive whatever stops the run.

A run is described, cut into pieces, shared by processes, stopped, taken up and merged here. Nothing
here computes a score, compares runs or makes a report.
"""
