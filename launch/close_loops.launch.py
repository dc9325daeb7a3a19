"""Correct odometry drift by the localizer: ros2 launch nerf_reversal_ros close_loops.launch.py."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    'odom': ('odom', 'topic of the odometry (nav_msgs/Odometry)'),
    'pose': ('nerf_pose_with_covariance', 'topic of the poses of the localizer'),
    'namespace': ('', 'of the node and its topics'), 'name': ('loop_closer', 'of the node'),
    'tf': ('namespaced', 'TF of the namespace; shared: /tf and /tf_static, as with two cameras'),
    'params_file': ([FindPackageShare('nerf_reversal_ros'), '/config/loop_closer.yaml'],
                    'YAML file of parameters; the arguments below override it')}
TF = {'namespaced': [('/tf', 'tf'), ('/tf_static', 'tf_static')], 'shared': []}
PARAMETERS = {
    'base_frame': (str, 'frame of odometry and poses; set it in the localizer too'),
    'odometry_source': (str, 'topic, or tf: odom -> base_frame from TF'),
    'publish_tf': (bool, 'broadcast map -> odom on TF; the localizer must not broadcast it too'),
    'use_sim_time': (bool, 'use the time of /clock')}


def loop_closer(context):
    parameters = {name: Value(Arg(name), value_type=kind) for name, (kind, _) in PARAMETERS.items()
             if Arg(name).perform(context)}
    return [Node(package='nerf_reversal_ros', executable='loop_closer', name=Arg('name'),
                 namespace=Arg('namespace'), output='screen',
                 parameters=[Arg('params_file'), *([parameters] if parameters else [])],
                 remappings=[('odom', Arg('odom')), ('nerf_pose_with_covariance', Arg('pose')),
                             *TF[Arg('tf').perform(context)]])]


def generate_launch_description():
    declared = ARGUMENTS | {name: ('', text) for name, (_, text) in PARAMETERS.items()}
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text,
          choices=[*TF] if name == 'tf' else None) for name, (default, text) in declared.items()),
        OpaqueFunction(function=loop_closer)])
