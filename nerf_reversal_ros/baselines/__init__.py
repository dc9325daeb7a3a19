"""
Baselines: other localization methods, which an evaluation compares with this package.

`baselines` lists and creates them; each method has a module of its own. Metrics and reports are
in `evaluation`.
"""
