"""Play a bag to the localizer: ros2 launch nerf_reversal_ros play.launch.py bag:=BAG."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

IMAGE_RAW = '/record3d/device_0/rgb/image_raw/compressed'  # topic of other driver versions
ARGUMENTS = {
    'bag': (None, 'rosbag2 folder (mcap or sqlite3) to play'),
    'image': ('/record3d/device_0/rgb/img', 'image topic in the bag'),
    'camera_info': ('/record3d/device_0/rgb/camera_info', 'CameraInfo topic in the bag'),
    'to_image': ('/image/compressed', 'topic to play the images on'),
    'to_camera_info': ('/camera_info', 'topic to play the CameraInfo on'),
    'rate': ('1.0', 'speed; 1: as recorded'),
    'loop': ('false', 'start again at the end'),
    'clock': ('false', 'publish /clock'),
    'lockstep_topic': ('', 'such as /localizer/status: wait for the status of each image'),
}
TYPES = {'bag': str, 'rate': float, 'loop': bool, 'clock': bool, 'lockstep_topic': str}


def generate_launch_description():
    given = {name: ParameterValue(Arg(name), value_type=kind) for name, kind in TYPES.items()}
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, (default, description) in ARGUMENTS.items()),
        Node(package='nerf_reversal_ros', executable='player', name='player', parameters=[given],
             remappings=[*((name, Arg('to_image')) for name in (Arg('image'), IMAGE_RAW)),
                         (Arg('camera_info'), Arg('to_camera_info'))], output='screen'),
    ])
