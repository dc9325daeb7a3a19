"""
Remedies: the settings, options and commands that messages tell a user to try.

A message of unusable input ends in one of these texts; it fills in what stands in braces. The
tests in ``test/remedies`` make the fault of each, follow its text, and expect success. One of them
finds a message that names a setting, an option or a command by itself.

The reasons of rejected images have their remedies in `core.outcome`.
"""

# ---- maps and builds
OVERWRITE = 'choose another folder, or give --overwrite'
RESUME = 'repeat the same build command to resume it'
FREE_DISK_SPACE = 'free some, then repeat the command to resume the build'
GIVE_MAP = 'give the folder written by nerf-reversal build'
BUILD_AGAIN = 'build it again with --overwrite'
OTHER_DEVICE = 'choose cpu or auto, or install a PyTorch with CUDA for this driver'

# ---- capture and field
SKIP_ADJUSTMENT = (
    'calibrate the camera and record its camera_info, or set capture.adjust_poses to off to build'
    ' without this check'
)
FIELD_WITHOUT_DEPTH = 'record with a LiDAR or an RGB-D camera, or take --field nerfacto'
MORE_DEPTH = (
    'raise field.voxel_m, now {voxel_m:.3g}, or capture.max_depth_m, or record more frames'
)
LARGER_VOXELS = 'set field.voxel_m to {voxel_m:.2g} or more, or lower capture.max_depth_m'
NEARER_DEPTH = 'check that poses and depth are in meters, or lower capture.max_depth_m'
VOXEL_FIELD = 'take --field voxel'
LONGER_TRAINING = 'set nerfstudio.steps above 2000, or above 10000 on a GPU'
RENDERED_DEPTH = 'lower nerfstudio.learning_rate, now {learning_rate:.3g}'
CERTAIN_DEPTH = 'set nerfstudio.max_std_m, now {max_std_m:.3g}, to 0'
INSTALL_NERFSTUDIO = (
    'in the source folder of nerf_reversal_ros, run pip install -r requirements/nerfstudio.txt &&'
    ' pip install --no-deps -r requirements/nerfstudio_itself.txt'
)
PORTABLE_NERFACTO = 'train with --pipeline.model.implementation torch, which renders everywhere'

# ---- a nerfstudio run as the field
SCALE_OF_RUN = 'give a BAG of the same room, or known positions with --align'
ALIGN_BY_POSITIONS = (
    'check that both show the same room, or give known positions with --align instead of BAG'
)
DEEPER_RUN = 'if they are, raise capture.max_depth_m'

# ---- synthetic views and regressor
NARROWER_SAMPLING = 'lower synthesis.translation_m, now {translation_m:.3g}'
SMALLER_CLEARANCE = 'lower synthesis.clearance_m, now {clearance_m:.3g}'
MORE_OPAQUE_VIEWS = (
    'lower synthesis.translation_m, now {translation_m:.3g}, synthesis.rotation_deg, now'
    ' {rotation_deg:.3g}, or synthesis.min_opacity, now {min_opacity:.3g}'
)
NEARER_VIEWS = (
    'lower synthesis.near_m, now {near_m:.3g}, or raise synthesis.max_near_share, now'
    ' {max_near_share:.3g}'
)
COMPRESS = 'set compression to pca or vae, or network_sees to reconstruction'
FEWER_COMPONENTS_OR_MORE_VIEWS = (
    'set regressor.components to at most {most}, or raise synthesis.views (--views of a study)'
)
FEWER_COMPONENTS_OR_LARGER_VIEWS = (
    'set regressor.components to at most {most}, or raise synthesis.width (--width of a study)'
)
LOWER_LEARNING_RATE = 'lower regressor.learning_rate'
LONGER_REGRESSION = 'raise regressor.epochs or synthesis.views'
MORE_HELD_OUT = 'record a longer capture, or raise field.validation_share'

# ---- localizing
FOCAL_LENGTH = 'calibrate the camera, or try fx {fx:.1f}, fy {fy:.1f}'
MAP_FROM_NERF = (
    'give the position of the map origin in map_frame [m] and the rotation of the map about z'
    ' [deg]'
)

# ---- evaluation and study
REFERENCE = 'give --reference with the bag of the build'
INSTALL_PYCOLMAP = "pip install 'pycolmap>=4.0'"
SHORTER_STUDY = 'use --views, --epochs or --only to shorten it'
WIDER_STUDY = 'set --width and --full-width to at least {px}'
EXPERIMENTS = 'give --only a word of one of these names: {names}'

# ---- odometry
INSTALL_GTSAM = "pip install --no-deps 'gtsam>=4.3a1'"
