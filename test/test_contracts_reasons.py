"""
Texts of reasons, which users count and compare.

Expected values are written out. These texts may be changed on purpose, and then here as well.
"""

import json
from pathlib import Path

from outlines import constants

from nerf_reversal_ros import loop_closure, outcome

MESSAGES = Path(__file__).resolve().parents[1] / 'msg'
OF_LOCALIZER = {
    'TOO_DARK_OR_FLAT': 'too dark or flat',
    'UNLIKE_THE_MAP': 'unlike the map',
    'TOO_FEW_MATCHES': 'too few matches',
    'TOO_FEW_INLIERS': 'too few inliers',
    'MATCHES_IN_ONE_CORNER': 'matches in one corner',
    'ROUNDS_DISAGREE': 'rounds disagree',
    'TOO_UNCERTAIN': 'too uncertain',
    'OUTSIDE_THE_MAP': 'outside the map',
    'RENDER_DISAGREES': 'render disagrees',
    'TOO_IMPROBABLE': 'too improbable',
    'ODOMETRY_DISAGREES': 'odometry disagrees',
}
OF_NODE = {
    'NO_CAMERA_INFO': 'no camera_info yet',
    'UNUSABLE_PICTURE': 'unusable picture',
    'NO_MOUNTING': 'mounting of the camera unknown',
    'INTERNAL_ERROR': 'internal error',
}
OF_LOOP_CLOSER = {
    'UNUSABLE_POSE': 'unusable pose',
    'DUPLICATE_STAMP': 'duplicate stamp',
    'NO_ODOMETRY': 'no odometry',
    'NOTHING_NEW': 'nothing new',
    'CONTRADICTS': 'contradicts',
}


def test_the_reasons_of_the_localizer_in_the_order_of_the_checks():
    assert outcome.REASONS == tuple(OF_LOCALIZER.values())
    assert constants(MESSAGES / 'LocalizerStatus.msg') == OF_LOCALIZER | OF_NODE


def test_the_reasons_of_the_loop_closer_in_the_order_of_the_checks():
    assert loop_closure.REASONS == tuple(OF_LOOP_CLOSER.values())
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
