"""Names of the stages of a build, in the manifest and in progress reports."""

CAPTURE, ADJUSTMENT, FIELD, ATLAS = 'capture', 'adjustment', 'field', 'atlas'
FIRST_MAP, SYNTHESIS, REGRESSOR = 'first_map', 'synthesis', 'regressor'
CALIBRATION = 'calibration'

BUILD_STAGES = (
    CAPTURE,
    ADJUSTMENT,
    FIELD,
    ATLAS,
    FIRST_MAP,
    SYNTHESIS,
    REGRESSOR,
    CALIBRATION,
)
"""Stages in their order: the keys of ``built.seconds`` in the manifest."""

RUN, ALIGNMENT, UNCERTAINTY = 'run', 'alignment', 'uncertainty'
MEASURING, LANDMARKS = 'measuring', 'landmarks'

PROGRESS_STAGES = {
    RUN: 'loading a nerfstudio run and known positions of its cameras',
    CAPTURE: 'indexing the bag: images, depth and poses',
    'rendering': 'rendering the views that a voxel field is fitted to',
    ALIGNMENT: 'localizing images of the bag in renderings of the run',
    ADJUSTMENT: 'adjusting the poses to feature tracks',
    'depth': 'estimating the depth correction from triangulated keypoints',
    'pictures': 'resizing the training images',
    FIELD: 'training the field',
    UNCERTAINTY: 'estimating the uncertainty of the field',
    'baking': 'fitting the voxel field to renderings of another field',
    MEASURING: 'comparing a nerfstudio run and its voxel field with held-out images',
    ATLAS: 'rendering the views that landmarks are detected in',
    LANDMARKS: 'refining landmarks with the mapping images',
    FIRST_MAP: 'writing a first map, which localizes while the build goes on',
    SYNTHESIS: 'rendering synthetic views',
    'compression': 'training the VAE',
    REGRESSOR: 'training the pose regressor',
    CALIBRATION: 'localizing held-out images for the calibration',
}
"""
``Progress.stage`` of a build and its meaning, in the order of the work.

A stage of the build reports under several of these names. Names without a constant are reported by
the folders that do the work. ``action/BuildMap.action`` lists the same names.
"""
