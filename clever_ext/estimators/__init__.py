"""The ways to spend gradients on rows, one module each, all of one form (`protocol`).

What they share is here too; what comes before (models, passes) and after (results, runs) is not.
"""
