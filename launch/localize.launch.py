"""Localize a camera in a map: ros2 launch nerf_reversal_ros localize.launch.py map:=DIR."""

from launch import actions, conditions, LaunchDescription
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

CONFIG = [FindPackageShare('nerf_reversal_ros'), '/config/']
ARGUMENTS = {
    'map': (None, 'folder of a map or a building'), 'namespace': ('', 'also of the topics'),
    'image': ('', 'empty: image/compressed, image if raw'), 'tf': ('namespaced', 'or shared: /tf'),
    'camera_info': ('camera_info', 'CameraInfo topic'), 'odom': ('odom', 'odometry topic'),
    'params_file': ([*CONFIG, 'localizer.yaml'], 'YAML of parameters; arguments override it'),
    'transport': ('', 'compressed or raw images'), 'use_sim_time': ('', 'true: use /clock'),
    'autostart': ('true', 'false: leave it to a manager'), 'name': ('localizer', 'of the node'),
    'large_messages': ('false', 'Fast DDS profile for raw images (set it for the driver too)')}
PROFILE = [*CONFIG, 'fastdds_large_messages.xml']
TF = {'namespaced': [('/tf', 'tf'), ('/tf_static', 'tf_static')], 'shared': []}
RENAMED = {'map': 'map_dir', 'transport': 'image_transport'}  # parameters of type str


def localizer(context):
    given = {name for name in ARGUMENTS if Arg(name).perform(context)}  # else: params_file
    parameters = {RENAMED.get(n, n): Value(Arg(n), value_type=str if n in RENAMED else bool)
                  for n in given & {*RENAMED, 'autostart', 'use_sim_time'}}
    topics = {'image/compressed': 'image', **{n: n for n in ('image', 'camera_info', 'odom')}}
    remappings = [(old, Arg(new)) for old, new in topics.items() if new in given]
    return [*(actions.SetEnvironmentVariable(f'FAST{dds}_DEFAULT_PROFILES_FILE', PROFILE,
              condition=conditions.IfCondition(Arg('large_messages'))) for dds in ('DDS', 'RTPS')),
            Node(package='nerf_reversal_ros', executable='localizer', name=Arg('name'),
                 parameters=[Arg('params_file'), parameters], namespace=Arg('namespace'),
                 output='screen', remappings=TF[Arg('tf').perform(context)] + remappings)]


def generate_launch_description():
    return LaunchDescription([
        *(actions.DeclareLaunchArgument(name, default_value=default, description=text,
          choices=[*TF] if name == 'tf' else None) for name, (default, text) in ARGUMENTS.items()),
        actions.OpaqueFunction(function=localizer)])
