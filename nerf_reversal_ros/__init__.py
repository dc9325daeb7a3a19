"""Camera relocalization against a NeRF of one room, for ROS 2."""

import os
from pkgutil import extend_path

# Threads that spin while they wait make PyTorch many times slower as soon as anything else runs
# on the same cores, which on a robot is always. Read once, when PyTorch is loaded.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

# rosidl installs nerf_reversal_ros.msg beside these modules; a source tree that stands in front
# of the installed package on sys.path must not hide it.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'
