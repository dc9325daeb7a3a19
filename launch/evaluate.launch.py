"""Play a bag to the localizer and judge it: ros2 launch nerf_reversal_ros evaluate.launch.py."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

DEVICE = '/record3d/device_0/rgb'
ARGUMENTS = {
    'map': (None, 'map folder written by the builder'),
    'bag': (None, 'rosbag2 folder to play, with the true poses of its pictures'),
    'image': (f'{DEVICE}/img', 'topic of the pictures in the bag (CompressedImage)'),
    'camera_info': (f'{DEVICE}/camera_info', 'topic of their CameraInfo in the bag'),
    'params_file': ([FindPackageShare('nerf_reversal_ros'), '/config/localizer.yaml'],
                    'further parameters of the localizer, YAML'),
    'json': ('', 'file to write the metrics to; empty: they are printed only'),
    'min_recall': ('0.0', 'fail when a smaller share is within 5 cm and 5 degrees')}
TO = ((Arg('image'), '/image/compressed'), (f'{DEVICE}/image_raw/compressed', '/image/compressed'),
      (Arg('camera_info'), '/camera_info'))
NAMES = {'map_dir': 'map', 'image_topic': 'image', 'camera_info_topic': 'camera_info'}
BAG, MAP, *MORE = ({name: Value(Arg(NAMES.get(name, name)), value_type=kind)} for name, kind in
                   (('bag', str), ('map_dir', str), ('json', str), ('min_recall', float),
                    ('image_topic', str), ('camera_info_topic', str)))


def generate_launch_description():
    def node(kind, *given, on_exit, **more):
        return Node(package='nerf_reversal_ros', executable=kind, name=kind, output='screen',
                    parameters=list(given), on_exit=on_exit, **more)

    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=told)
          for name, (default, told) in ARGUMENTS.items()),
        node('localizer', Arg('params_file'), MAP, {'autostart': True, 'reliability': 'reliable'},
             on_exit=Shutdown()),
        node('player', BAG, {'lockstep_topic': '/evaluator/ack', 'wait_timeout_s': 600.0},
             remappings=TO, on_exit=lambda end, _: [Shutdown()] if end.returncode else []),
        node('evaluator', BAG, MAP, *MORE, on_exit=Shutdown())])
