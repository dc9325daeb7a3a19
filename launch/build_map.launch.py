"""
Build a map from a bag: ros2 launch nerf_reversal_ros build_map.launch.py bag:=BAG map:=DIR.

Without the two, the builder waits for goals of its action.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    'bag': ('', 'rosbag2 folder (mcap or sqlite3) of the mapping capture; empty: wait for goals'),
    'map': ('', 'map folder to write, with bag; a killed build is resumed'),
    'field': ('voxel', 'kind of radiance field'),
    'device': ('auto', 'where to compute: auto, cpu or cuda'),
    'config': ('', 'YAML file of build settings; empty: the defaults'),
    'overwrite': ('false', 'replace an existing map'),
}


def generate_launch_description():
    types = {name: bool if name == 'overwrite' else str for name in ARGUMENTS}
    parameters = {name: ParameterValue(Arg(name), value_type=kind) for name, kind in types.items()}
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, (default, description) in ARGUMENTS.items()),
        Node(package='nerf_reversal_ros', executable='builder', name='builder',
             parameters=[parameters], output='screen'),
    ])
