"""Display map and poses of a localizer in RViz: ros2 launch nerf_reversal_ros rviz.launch.py."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

DISPLAY = [FindPackageShare('nerf_reversal_ros'), '/rviz/nerf_reversal.rviz']
ARGUMENTS = {
    'namespace': ('', 'namespace of the displayed localizer'),
    'display': (DISPLAY, 'RViz configuration file'),
    'use_sim_time': ('', 'use the time of /clock'),
    'tf': ('namespaced', 'TF of the namespace; shared: /tf and /tf_static, as with two cameras'),
}
TF = {'namespaced': [('/tf', 'tf'), ('/tf_static', 'tf_static')], 'shared': []}


def rviz(context):
    clock = {'use_sim_time': Value(Arg('use_sim_time'), value_type=bool)}
    return [Node(package='rviz2', executable='rviz2', namespace=Arg('namespace'), output='screen',
                 arguments=['-d', Arg('display')],
                 parameters=[clock] if Arg('use_sim_time').perform(context) else [],
                 remappings=TF[Arg('tf').perform(context)])]


def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description,
                                choices=[*TF] if name == 'tf' else None)
          for name, (default, description) in ARGUMENTS.items()),
        OpaqueFunction(function=rviz)])
