"""
Command line ``nerf-reversal``: a module a command, named like it; `main` dispatches to them.

Only this folder reads argv, and it prints; what a command computes is in the other folders.
Heavy modules are imported when a command runs, so that ``--help`` stays fast.
"""
