"""Correct odometry by the localizer: ros2 launch nerf_reversal_ros close_loops.launch.py."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    'odom': ('odom', 'topic of the odometry (nav_msgs/Odometry)'),
    'pose': ('nerf_pose_with_covariance', 'topic of the poses of the localizer'),
    'base_frame': ('base_link', 'frame of odometry and poses; the localizer needs it as well'),
    'odometry_source': ('topic', 'topic, or tf: odom -> base_frame from TF'),
    'publish_tf': ('false', 'broadcast map -> odom on TF; the localizer must not do it as well'),
    'namespace': ('', 'namespace of the node, its topics and its TF'),
    'params_file': ([FindPackageShare('nerf_reversal_ros'), '/config/loop_closer.yaml'],
                    'further parameters, YAML'),
    'use_sim_time': ('false', 'take the time from /clock')}


def generate_launch_description():
    given = {name: Value(Arg(name), value_type=str) for name in ('base_frame', 'odometry_source')}
    given |= {name: Value(Arg(name), value_type=bool) for name in ('publish_tf', 'use_sim_time')}
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=sentence)
          for name, (default, sentence) in ARGUMENTS.items()),
        Node(package='nerf_reversal_ros', executable='loop_closer', name='loop_closer',
             namespace=Arg('namespace'), parameters=[Arg('params_file'), given], output='screen',
             remappings=[('odom', Arg('odom')), ('nerf_pose_with_covariance', Arg('pose')),
                         ('/tf', 'tf'), ('/tf_static', 'tf_static')]),
    ])
