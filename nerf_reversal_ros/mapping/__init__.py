"""
Mapping: from a capture, or a nerfstudio run, to a map; one call a stage.

Start at `pipeline.build_map`. Stages combine the algorithms of other folders; only the fits that a
build alone needs are here (Sim(3) alignment, landmark refinement, calibration). `maps` writes the
folder, `localization` uses it.
"""
