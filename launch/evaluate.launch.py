"""Evaluate the localizer on a bag: ros2 launch nerf_reversal_ros evaluate.launch.py."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration as Arg
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as Value
from launch_ros.substitutions import FindPackageShare

DEVICE = '/record3d/device_0/rgb'
ARGUMENTS = {
    'map': (None, 'folder of the map of a room'),
    'bag': (None, 'rosbag2 folder to play, with ground-truth poses of its images'),
    'image': (f'{DEVICE}/img', 'image topic in the bag (CompressedImage)'),
    'camera_info': (f'{DEVICE}/camera_info', 'CameraInfo topic in the bag'),
    'params_file': ([FindPackageShare('nerf_reversal_ros'), '/config/localizer.yaml'],
                    'YAML file of further parameters of the localizer'),
    'json': ('', 'file to write the metrics to; empty: print them only'),
    'min_recall': ('0.0', 'fail if a smaller fraction is within 5 cm and 5 degrees')}
IMAGES = (Arg('image'), f'{DEVICE}/image_raw/compressed')
REMAPPINGS = [(Arg('camera_info'), '/camera_info'), *((t, '/image/compressed') for t in IMAGES)]
NAMES = {'map_dir': 'map', 'image_topic': 'image', 'camera_info_topic': 'camera_info'}
BAG, MAP, *OTHERS = ({name: Value(Arg(NAMES.get(name, name)), value_type=kind)} for name, kind in
                   (('bag', str), ('map_dir', str), ('json', str), ('min_recall', float),
                    ('image_topic', str), ('camera_info_topic', str)))


def generate_launch_description():
    def node(name, *parameters, on_exit, **options):
        return Node(package='nerf_reversal_ros', executable=name, name=name, output='screen',
                    parameters=list(parameters), on_exit=on_exit, **options)

    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, (default, description) in ARGUMENTS.items()),
        node('localizer', Arg('params_file'), MAP, {'autostart': True, 'reliability': 'reliable'},
             on_exit=Shutdown()),
        node('player', BAG, {'lockstep_topic': '/evaluator/ack', 'wait_timeout_s': 600.0},
             remappings=REMAPPINGS, on_exit=lambda end, _: [Shutdown()] if end.returncode else []),
        node('evaluator', BAG, MAP, *OTHERS, on_exit=Shutdown())])
