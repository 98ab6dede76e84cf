"""Runs over many pictures: a folder of results that survives whatever stops the run."""
