"""Tell where the camera is in a map: ros2 launch nerf_reversal_ros localize.launch.py map:=DIR."""

from launch import actions, conditions, LaunchDescription
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

CONFIG = [FindPackageShare('nerf_reversal_ros'), '/config/']
ARGUMENTS = {
    'map': (None, 'map folder written by the builder'), 'namespace': ('', 'of topics and TF too'),
    'image': ('', 'topic of the pictures; empty: image/compressed, or image if they are raw'),
    'camera_info': ('camera_info', 'topic of CameraInfo'), 'odom': ('odom', 'topic of odometry'),
    'params_file': ([*CONFIG, 'localizer.yaml'], 'parameters; what is given here goes before it'),
    'transport': ('', 'compressed or raw pictures'), 'use_sim_time': ('', 'true: time of /clock'),
    'autostart': ('true', 'configure and activate at once; false: leave it to a manager'),
    'large_messages': ('false', 'Fast DDS profile for raw pictures (set it for the driver too)')}
PROFILE = [*CONFIG, 'fastdds_large_messages.xml']
GIVEN = {'map': 'map_dir', 'transport': 'image_transport'}  # parameters by other names; texts


def localizer(context):
    said = {name for name in ARGUMENTS if Arg(name).perform(context)}  # else as in params_file
    given = {GIVEN.get(name, name): Value(Arg(name), value_type=str if name in GIVEN else bool)
             for name in said & {*GIVEN, 'autostart', 'use_sim_time'}}
    topics = {'image/compressed': 'image', **{n: n for n in ('image', 'camera_info', 'odom')}}
    to = [(old, Arg(new)) for old, new in topics.items() if new in said]
    return [*(actions.SetEnvironmentVariable(f'FAST{dds}_DEFAULT_PROFILES_FILE', PROFILE,
              condition=conditions.IfCondition(Arg('large_messages'))) for dds in ('DDS', 'RTPS')),
            Node(package='nerf_reversal_ros', executable='localizer', name='localizer',
                 parameters=[Arg('params_file'), given], output='screen',
                 remappings=[('/tf', 'tf'), ('/tf_static', 'tf_static'), *to],
                 namespace=Arg('namespace'))]


def generate_launch_description():
    return LaunchDescription([
        *(actions.DeclareLaunchArgument(name, default_value=default, description=sentence)
          for name, (default, sentence) in ARGUMENTS.items()),
        actions.OpaqueFunction(function=localizer)])
