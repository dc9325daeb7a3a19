"""
Other methods, compared with in an evaluation.

Other folders start at `baselines`, which lists and creates them.
"""
