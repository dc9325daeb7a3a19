"""
Work in parts that know nothing of each other: their states, and the Ray cluster that runs them.

`ray_cluster` runs what can be pickled and called. Surveys, evaluations and studies say what that
is; without Ray they call it here.
"""
