"""
Remedies: the settings, options and commands that messages tell a user to try.

A message of unusable input ends in one of these texts; it fills in what stands in braces. The
tests in ``test/remedies`` make the fault of each, follow its text, and expect success. One of them
finds a message that names a setting, an option or a command by itself.

The reasons of rejected images have their remedies in `core.outcome`.
"""

# ---- maps and builds
OVERWRITE = 'choose another folder, or give --overwrite'
OVERWRITE_FILE = 'choose another name, or give --overwrite'
FINISH_OR_OVERWRITE = 'repeat that build command to finish it, or give --overwrite'
RESUME = 'repeat the same build command to resume it'
FREE_DISK_SPACE = 'free some, then repeat the command to resume the build'
GIVE_MAP = 'give the folder written by nerf-reversal build'
EXPORT_FOR_ROBOT = 'copy it with nerf-reversal export MAP OUT --to robot'
EXPORT_KIND = 'end it in {suffixes}, or give --to with one of {kinds}'
READ_AGAIN = 'read it again'
MAP_WITH_FIELD = 'give the map that it was copied from'
BUILD_AGAIN = 'build it again with --overwrite'
FILE_OF_FRAMES = 'write .json or .csv, which name the frame of each pose'
INSTALL_TORCH = 'pip install torch, or build the map again with --overwrite'
INSTALL_MESH = "pip install torch 'scikit-image>=0.22' 'trimesh>=4.0'"
MAP_OF_ROOM = 'give the map of a room, such as rooms/NAME.map in the building'
SURVEY_AGAIN = 'repeat the nerf-reversal survey that wrote it'
OTHER_DEVICE = 'choose cpu or auto, or install a PyTorch with CUDA for this driver'

# ---- surveys
GIVE_PLAN = 'give a YAML file with rooms, or a folder with a bag for each room'
ROOMS_OF_PLAN = 'write under rooms: a line NAME: BAG for each room'
PATHS_OF_PLAN = 'correct it; paths are relative to the folder of the plan'
ROOM_OF_ITS_OWN = 'make each of them a room of its own'
JOB_RESOURCES = 'repeat the survey, or raise resources.memory_gb or resources.retries in the plan'
REPEAT_SURVEY = 'mend them and repeat the survey, which builds these alone'
SMALLER_JOBS = 'lower its resources in the plan: cpus, gpus or memory_gb'
SAME_COMMAND = 'give the same command again'
ONE_BAG_HERE = 'give one bag, without --ray'
INSTALL_RAY = "pip install 'ray>=2.40'"
START_RAY = 'start it with `ray start --head`, or give --ray local'
SAME_VERSION = 'install the same version of nerf_reversal_ros on all machines'
PLACE_ROOM = 'give the room a `placement` in the plan of its survey, and repeat that'
GIVE_ROOM = 'give the map of one of its rooms, such as {map}'
SHARE_BAGS = 'mount its folder at the same path on all machines'

# ---- bags
UNPACK = 'unpack it yourself (`zstd -d {file}`)'
TEMPORARY_FOLDER = 'free space there, or set the environment variable TMPDIR to a folder with more'
TOPIC = 'set {setting} to one of {topics}'
TOPICS = 'set these topics with --config'
CALIBRATION = 'give the calibration of the camera by camera_info_file'
CAMERA_INFO_SIZE = 'set camera_info_size to {width}x{height}, or for a crop to its own size'
RECTIFIED = 'set rectified to true'
NOT_RECTIFIED = 'set rectified to false'
RECTIFIED_CALIBRATION = 'give the calibration of these images by camera_info_file'
TF_FRAMES = 'set tf_parent and tf_child to frames of TF'
CONNECTED_FRAMES = 'set tf_parent and tf_child to connected ones of {frames}'
TF_TOPIC = 'set tf_topic to one of them'
POSE_TOPIC = 'set pose_topic to {topic}'
POSES_OF_TF = 'set pose_topic to nothing, and tf_parent and tf_child to frames of TF'
MOUNTING = 'set mounting to the pose of the camera in {frame}, "x y z qx qy qz qw"'

# ---- conversion
TRUST_PATHS = 'give --trust-paths'
EXIF = 'give --exif turn or --exif ignore'
NO_DEPTH = 'give --no-depth'
CAMERA_OF_SEQUENCE = (
    'give --camera with a YAML file of camera_calibration, a cameras.txt of COLMAP, or "fx fy cx'
    ' cy" in pixels'
)
ONE_SESSION = 'optimize it with rtabmap-reprocess, or give --frames of one session'
CONVERTED_DEPTH_UNIT = 'convert the recording again with --depth-unit {unit_m}'
MAX_LEFT_OUT = 'give --max-left-out {needed:g} to go on without them'
FORMAT_NERFSTUDIO = 'use --format nerfstudio'
INSTALL_LZFSE = 'pip install lzfse'
INSTALL_OPENEXR = "pip install 'OpenEXR>=3.2'"

# ---- depth and poses of a capture
NO_DEPTH_TOPIC = 'set depth_topic to nothing to go without depth'
DEPTH_UNIT = 'set depth_unit_m to {unit_m}'
FARTHER_DEPTH = (
    'set max_depth_m above it if that is right, or depth_unit_m to the unit of depth, such as'
    ' {unit_m}'
)
SYNC_TOLERANCE = 'set sync_tolerance_s above it if that is right'
CLOCK_OFFSET = 'set camera_time_offset_s to {offset_s:.2f}'
CONVENTION = 'set pose_convention to one of {conventions}'
RIGHT_CONVENTION = 'set pose_convention to {convention} or auto'
OTHER_POSES = 'set pose_topic to the poses of this camera'
MEASURED_CALIBRATION = 'calibrate the camera and give camera_info_file'
MEASURED_MOUNTING = 'set mounting to "{mounting}"'
TF_CHILD = 'set tf_child to {frame}'
POSE_FRAME = 'set pose_frame to {frame}'
POSE_UNIT = 'set pose_unit_m to {unit_m}'

# ---- adjustment and field
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
FIELD_OF_POSITIONS = 'omit them, or give --field nerfstudio:CONFIG.yml'
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
COMPRESS = 'set compression to pca or vae, or network_sees to image'
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
PHOTO_CAMERA = (
    'give --camera with a YAML file of camera_calibration, a cameras.txt of COLMAP, or "fx fy cx'
    ' cy", or give --fov with the horizontal field of view in degrees'
)
STATED_CAMERA = 'give the calibration of these images as --camera, or leave it out'
EXIF_CAMERA = 'give --camera: EXIF is rounded, and says nothing of a crop'
FIELD_OF_VIEW = 'check --fov, or leave it out: the focal length is then found from the images'
FOUND_CAMERA = 'give --camera or --fov, or more photos of the same camera at once'
CAMERA_OF_BAG = 'set capture.camera_info_file with --config if that is wrong'
POSE_FILE = 'give the file a name that ends in {suffixes}'
POSES_JSON = 'give one that nerf-reversal localize MAP SOURCE --out poses.json writes'
FOCAL_LENGTH = 'calibrate the camera, or try fx {fx:.1f}, fy {fy:.1f}'
MAP_FROM_NERF = (
    'give the position of the map origin in map_frame [m] and the rotation of the map about z'
    ' [deg]'
)

# ---- the page of view
INSTALL_VISER = "pip install 'viser>=0.2.7'"
KNOWN_VISER = "pip install 'viser==1.1.1', or 'viser==0.2.7' beside nerfstudio"
OTHER_PORT = 'give another one with --port, or --port 0 for a free one'
SOURCE_ROS = (
    'source the setup file of the workspace that has nerf_reversal_ros, such as install/setup.bash'
)

# ---- evaluation and study
REFERENCE = 'give --reference with the bag of the build'
INSTALL_PYCOLMAP = "pip install 'pycolmap>=4.0'"
INSTALL_RERUN = "pip install 'rerun-sdk>=0.23'"
WITHOUT_HLOC = 'install it again, or choose --baselines without hloc_sift'
SHORTER_STUDY = 'use --views, --epochs or --only to shorten it'
WIDER_STUDY = 'set --width and --full-width to at least {px}'
EXPERIMENTS = 'give --only a word of one of these names: {names}'

# ---- odometry
INSTALL_GTSAM = "pip install --no-deps 'gtsam>=4.3a1'"

# ---- nodes
FOLDER = 'set it to a folder, -p {name}:=FOLDER'
ROS_ARGUMENTS = 'use --ros-args -p name:=value'
AUTOSTART = 'start the node with autostart:=true'
RAW_TRANSPORT = 'set image_transport to raw, or remap to a compressed topic'
COMPRESSED_TRANSPORT = 'set image_transport to compressed'
BEST_EFFORT = (
    'set the parameter reliability to best_effort, which is compatible with every publisher'
)
RELIABILITY = 'set the parameter reliability instead'
BASE_FRAME = 'set base_frame, for example to base_link'
ODOMETRY_CHILD = 'set base_frame to the child frame of the odometry'
MOUNTING_PARAMETER = 'set the parameter mounting'
NO_TF = 'set publish_tf to false'
PLACE_ANOTHER_MAP = 'clean up, set map_from_nerf and map_dir, and configure'
ODOMETRY_TOPIC = 'set odometry_source to topic'
ODOM_FRAME = 'set odom_frame to the frame of the odometry'
MAP_FRAME = 'set map_frame to the frame of the poses'
POSES_OF_BASE = 'set base_frame and mounting in the localizer'
LOCALIZER_NAME = (
    'start the localizer, or give its name by -r localizer/get_parameters:=NAME/get_parameters,'
    ' and likewise for status and sensor_pose'
)
LOCALIZE_IN_SHOWN_MAP = 'load the map that is shown, by ~/load_map or map_dir'
SUBSCRIBER = 'start the localizer, remap the topics (-r /old:=/new), or set wait_for to 0'
LOCKSTEP = (
    'start the localizer, and the evaluator if this is its topic, or set lockstep_topic to the'
    ' topic of the statuses'
)
