"""
Texts of rejection reasons, which users count and compare.

Expected values are literals. A text that changes on purpose changes here as well.
"""

import json
from pathlib import Path

from outlines import constants

from nerf_reversal_ros.core.outcome import ClosureRejectionReason, RejectionReason

MESSAGES = Path(__file__).resolve().parents[2] / 'msg'
OF_LOCALIZER = {
    'LOW_CONTRAST': 'low contrast',
    'NOVEL_IMAGE': 'novel image',
    'TOO_FEW_MATCHES': 'too few matches',
    'TOO_FEW_INLIERS': 'too few inliers',
    'CLUSTERED_INLIERS': 'clustered inliers',
    'UNSTABLE_REFINEMENT': 'unstable refinement',
    'IMPLAUSIBLE_CAMERA': 'implausible camera model',
    'HIGH_COVARIANCE': 'high covariance',
    'OUTSIDE_THE_MAP': 'outside the map',
    'APPEARANCE_MISMATCH': 'appearance mismatch',
    'LOW_PROBABILITY': 'low probability',
    'AMBIGUOUS_VIEW': 'ambiguous view',
    'ROOM_NOT_LOADED': 'room not loaded',
    'ODOMETRY_DISAGREES': 'odometry disagrees',
}
OF_NODE = {
    'NO_CAMERA_INFO': 'no camera_info yet',
    'INVALID_IMAGE': 'invalid image',
    'NO_MOUNTING': 'mounting of the camera unknown',
    'INTERNAL_ERROR': 'internal error',
}
OF_EVALUATION = {'DROPPED': 'dropped', 'NO_ANSWER': 'no answer'}
OF_LOOP_CLOSER = {
    'UNUSABLE_POSE': 'unusable pose',
    'DUPLICATE_STAMP': 'duplicate stamp',
    'NO_ODOMETRY': 'no odometry',
    'REDUNDANT': 'redundant',
    'OUTLIER': 'outlier',
}


def test_the_reasons_of_the_localizer_in_the_order_of_the_checks():
    given = {reason.name: reason.value for reason in RejectionReason}
    assert list(given.items())[: len(OF_LOCALIZER)] == list(OF_LOCALIZER.items())
    assert given == OF_LOCALIZER | OF_NODE | OF_EVALUATION
    assert constants(MESSAGES / 'LocalizerStatus.msg') == OF_LOCALIZER | OF_NODE


def test_the_reasons_of_the_loop_closer_in_the_order_of_the_checks():
    given = [(reason.name, reason.value) for reason in ClosureRejectionReason]
    assert given == list(OF_LOOP_CLOSER.items())
    assert constants(MESSAGES / 'LoopClosure.msg') == OF_LOOP_CLOSER


def test_the_reasons_to_throw_a_view_away(small_map):
    training = json.loads(small_map.file('training.json').read_text())
    assert list(training['synthesis']['rejected']) == [
        'inside matter',
        'behind matter',
        'too close to matter',
        'too much unseen',
        'too near',
    ]
