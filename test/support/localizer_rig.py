"""Localizer process around a small localizer, and a test node that sends it images."""

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_rig import Process, Rig, SOON_S, wait_until

from nerf_reversal_ros.msg import LocalizerStatus

ACTIVE = 'localizing the images of'
"""Log text of a localizer that has become active."""


class LocalizerRig(Rig):
    """Sends images to a localizer and collects its poses and statuses."""

    def __init__(self, namespace=''):
        super().__init__(namespace)
        self.poses = self.collect(PoseStamped, 'nerf_pose')
        self.poses_with_covariance = self.collect(
            PoseWithCovarianceStamped, 'nerf_pose_with_covariance'
        )
        self.statuses = self.collect(LocalizerStatus, 'localizer/status')

    def localize(self, message, topic='image/compressed'):
        """Publish one image and return its status."""
        count = len(self.statuses)
        self.publish(topic, message)
        assert wait_until(lambda: len(self.statuses) > count), 'no status'
        return self.statuses[-1]

    def received_poses(self, count):
        """Wait for a number of poses; return whether exactly so many have arrived."""
        arrived = wait_until(lambda: len(self.poses) >= count, SOON_S)
        return arrived and len(self.poses) == count

    def wait_for_diagnostic(self, level, text):
        """Wait until /diagnostics, which all robots share, has a status of this localizer."""
        messages = self.collect(DiagnosticArray, '/diagnostics')
        name = f'{self.node.get_namespace()}/localizer: localization'.lstrip('/')

        def has_status():
            statuses = [message.status[0] for message in list(messages)]
            own = [status for status in statuses if status.name == name]
            return own and own[-1].level == level and text in own[-1].message

        return wait_until(has_status)

    def set_parameter(self, name, value):
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        response = self.call(SetParameters, 'localizer/set_parameters', parameters=parameters)
        return response.results[0]

    @property
    def state(self):
        return self.call(GetState, 'localizer/get_state').current_state.label


def localizer_process(folder, *arguments, duration_ms=0, **parameters):
    """Start a localizer with a map in ``folder`` that needs ``duration_ms`` for an image."""
    map_dir = folder / f'slow{duration_ms}'
    map_dir.mkdir(exist_ok=True)
    # Reliable: best effort loses messages sent before the discovery is complete.
    defaults = {'map_dir': map_dir, 'autostart': True, 'reliability': 'reliable'}
    return Process('localizer', *arguments, **{**defaults, **parameters})
