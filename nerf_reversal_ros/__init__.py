"""Camera relocalization against a NeRF of one room, for ROS 2."""

from pkgutil import extend_path

# rosidl installs nerf_reversal_ros.msg beside these modules; a source tree that stands in front
# of the installed package on sys.path must not hide it.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'
