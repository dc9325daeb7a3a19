#!/bin/bash
# Run a command in the workspace: source ROS 2, then what was built.
set -e
source /opt/ros/jazzy/setup.bash
source /ws/install/setup.bash
exec "$@"
