"""Record a mapping capture: ros2 launch nerf_reversal_ros record.launch.py bag:=BAG."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node

DEVICE = '/record3d/device_0'
ARGUMENTS = {
    'bag': (None, 'rosbag2 folder to write'),
    'storage': ('mcap', 'format of the bag: mcap or sqlite3'),
    'driver': ('true', 'start the Record3D driver too; false: it is running already'),
    'driver_package': ('record3d', 'package of the Record3D driver'),
    'driver_executable': ('record3d_node', 'its executable'),
    'image': (f'{DEVICE}/rgb/img', 'image topic'),
    'image_raw': (f'{DEVICE}/rgb/image_raw/compressed', 'image topic of other driver versions'),
    'camera_info': (f'{DEVICE}/rgb/camera_info', 'CameraInfo topic of the images'),
    'depth': (f'{DEVICE}/depth/img', 'depth topic'),
    'depth_raw': (f'{DEVICE}/depth/image_raw', 'depth topic of other driver versions'),
    'depth_info': (f'{DEVICE}/depth/camera_info', 'CameraInfo topic of the depth'),
    'pose': (f'{DEVICE}/camera_pose', 'topic of the camera poses'),
}
RECORDED = ('image', 'image_raw', 'camera_info', 'depth', 'depth_raw', 'depth_info', 'pose')


def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, (default, description) in ARGUMENTS.items()),
        Node(package=Arg('driver_package'), executable=Arg('driver_executable'), output='screen',
             namespace='record3d', condition=IfCondition(Arg('driver'))),
        ExecuteProcess(cmd=['ros2', 'bag', 'record', '--storage', Arg('storage'), '--output',
                            Arg('bag'), *map(Arg, RECORDED)], output='screen'),
    ])
