"""
Evaluation of a map on images with ground truth: metrics, baselines, tables and the HTML report.

Functions here compute numbers and texts; writing files and printing is left to `cli` and `ros`.
`rerun_recording` alone writes a file, because Rerun does. Metrics themselves are in
`core.metrics`, compared methods in `baselines`.
"""
