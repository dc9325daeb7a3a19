"""Why nothing comes in on a subscription: nobody publishes, another type, or another QoS."""

from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_check_compatible, QoSCompatibility, QoSProfile

COMPRESSED, RAW = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image'


def obstacle(node: Node, topic: str, kind: Any, qos: QoSProfile) -> str:
    """
    Return a sentence on what keeps publishers from a subscription; empty if nothing does.

    ``topic`` is the full name, ``kind`` the class of the messages, ``qos`` that of the subscriber.
    """
    wanted = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
    offers = node.get_publishers_info_by_topic(topic)
    if not offers:
        return f'nobody publishes {topic} ({wanted}): start its publisher, or remap the topic'
    for offer in offers:
        if offer.topic_type != wanted:
            remedy = {
                (COMPRESSED, RAW): 'set image_transport to raw, or take the compressed topic',
                (RAW, COMPRESSED): 'set image_transport to compressed',
            }.get((wanted, offer.topic_type), 'remap the topic')
            return f'{topic} is published as {offer.topic_type}, not as {wanted}: {remedy}'
        fits, reason = qos_check_compatible(offer.qos_profile, qos)
        if fits == QoSCompatibility.ERROR:
            return (
                f'a publisher of {topic} offers another QoS than is asked for ({reason.strip()}),'
                ' so that nothing of it comes in: set the parameter reliability to best_effort,'
                ' which goes with every publisher'
            )
    return ''
