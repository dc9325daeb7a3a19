"""
The experiments of the original project, repeated on one capture.

Other folders start at `study`; `plan` names the experiments.
"""
