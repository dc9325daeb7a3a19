"""Tell where the camera is in a map: ros2 launch nerf_reversal_ros localize.launch.py map:=DIR."""

from launch import actions, conditions, LaunchDescription, substitutions
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

CONFIG = [FindPackageShare('nerf_reversal_ros'), '/config/']
ARGUMENTS = {
    'map': (None, 'map folder written by the builder'), 'rviz': ('false', 'start RViz as well'),
    'transport': ('compressed', 'compressed (CompressedImage) or raw (Image)'),
    'image': (substitutions.PythonExpression(['"image" if "', Arg('transport'), '" == "raw" else '
                                              '"image/compressed"']), 'topic of the pictures'),
    'camera_info': ('camera_info', 'topic of their CameraInfo'),
    'odom': ('odom', 'topic of the odometry, heard where the parameter use_odometry is set'),
    'namespace': ('', 'namespace of the node, its topics and its TF'),
    'params_file': ([*CONFIG, 'localizer.yaml'], 'further parameters; the others go before it'),
    'autostart': ('true', 'configure and activate at once; false: leave it to a manager'),
    'use_sim_time': ('false', 'take the time from /clock'),
    'large_messages': ('false', 'Fast DDS profile for raw pictures (set it for the driver too)')}
NAMES = {'map_dir': 'map', 'image_transport': 'transport'}  # of parameters, from arguments
TO = [('/tf', 'tf'), ('/tf_static', 'tf_static'), ('image/compressed', Arg('image')),
      *((name, Arg(name)) for name in ('image', 'camera_info', 'odom'))]


def generate_launch_description():
    given = {name: Value(Arg(arg), value_type=str) for name, arg in NAMES.items()}
    given |= {name: Value(Arg(name), value_type=bool) for name in ('autostart', 'use_sim_time')}
    return LaunchDescription([
        *(actions.DeclareLaunchArgument(name, default_value=default, description=sentence)
          for name, (default, sentence) in ARGUMENTS.items()),
        *(actions.SetEnvironmentVariable(
            f'FAST{dds}_DEFAULT_PROFILES_FILE', [*CONFIG, 'fastdds_large_messages.xml'],
            condition=conditions.IfCondition(Arg('large_messages'))) for dds in ('DDS', 'RTPS')),
        Node(package='nerf_reversal_ros', executable='localizer', remappings=TO, output='screen',
             name='localizer', namespace=Arg('namespace'), parameters=[Arg('params_file'), given]),
        Node(package='rviz2', executable='rviz2', condition=conditions.IfCondition(Arg('rviz')),
             arguments=['-d', [*CONFIG, '../rviz/nerf_reversal.rviz']],
             parameters=[{'use_sim_time': given['use_sim_time']}])])
