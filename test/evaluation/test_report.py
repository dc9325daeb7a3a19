"""The report is one file that needs nothing else, and it can be read in words too."""

from html.parser import HTMLParser
import json
from urllib.parse import urlparse

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_room import CAMERA, SmallRoom, walk, write_bag

from nerf_reversal_ros.baselines.baselines import Baseline
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.evaluation.evaluation import evaluate, Evaluation
from nerf_reversal_ros.evaluation.report import report_html
from nerf_reversal_ros.evaluation.summary import (
    format_number,
    headline,
    summary_rows,
    summary_text,
)
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.maps.map_writer import MapWriter

AS_IT_IS = PoseConvention('optical', np.eye(4), 'configured')
WALKED = walk(40)
TRAINING = {
    'field': {'step': [1, 2, 3], 'loss': [0.3, 0.2, 0.1], 'psnr_db': [18.0, 21.0, 23.0]},
    'regressor': {
        'epoch': [1, 2],
        'train_loss': [1.0, 0.5],
        'val_translation_m': [0.4, 0.2],
        'val_rotation_deg': [20.0, 9.0],
    },
    'pca': {'retained_variance': [0.3, 0.5, 0.6]},
}


class NearlyRight:
    """A localizer that is told the truth and errs from it as a seeded generator says."""

    def __init__(self, capture: Capture, rejected_share: float) -> None:
        self._true = {frame.rgb.tobytes(): frame.map_from_camera for frame in capture}
        self._rejected_share = rejected_share

    def localize(self, rgb: np.ndarray, camera: Camera) -> Outcome:
        """Answer one to a few centimetres off."""
        true = self._true[rgb.tobytes()]
        rng = np.random.default_rng(int(rgb[:20].sum()))
        regressed = self._off(rng, true, 0.1, 0.06)
        refined = self._off(rng, true, 0.01, 0.006)
        probable = rng.uniform(0.99, 1.0)
        told = Diagnostics(
            regressed, refined, {'probability': probable}, {'regress': 6.0, 'refine': 50.0}
        )
        if rng.uniform() < self._rejected_share:
            return Rejection('too few inliers', '17 of at least 30 <agree>', told)
        return PoseEstimate(refined, np.diag([1e-4] * 3 + [4e-5] * 3), told)

    @staticmethod
    def _off(rng: np.random.Generator, true: np.ndarray, metres: float, rad: float) -> np.ndarray:
        out = make_pose(Rotation.from_rotvec(rng.normal(0, rad, 3))) @ true
        out[:3, 3] = true[:3, 3] + rng.normal(0, metres, 3)
        return out


class Page(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        given = dict(attrs)
        if tag == 'img':
            self.sources.append(given.get('src') or '')
            self.alts.append(given.get('alt'))
        if tag == 'a':
            self.links.append(given.get('href') or '')
        if given.get('id'):
            self.ids.append(given['id'] or '')
        assert tag not in ('script', 'link', 'iframe')


@pytest.fixture(scope='module')
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    bag = write_bag(tmp_path_factory.mktemp('bags') / 'a<b', walk(16, phase=0.1))
    return open_capture(bag, CaptureConfig(), convention=AS_IT_IS, select_frames=False)


@pytest.fixture(scope='module')
def map_(tmp_path_factory: pytest.TempPathFactory) -> Map:
    with MapWriter(tmp_path_factory.mktemp('maps') / 'room.map', {}) as writer:
        writer.path('training.json').write_text(json.dumps(TRAINING))
        return writer.finish(
            {
                'camera': CAMERA.as_dict(),
                'convention': AS_IT_IS.as_dict(),
                'built': {'date': '2026-01-01T00:00:00+00:00', 'seconds': {'field': 61.0}},
                'metrics': {'psnr_db': 23.4},
            }
        )


def judged(capture: Capture, rejected_share: float) -> Evaluation:
    def shifted(frame: Frame) -> np.ndarray:
        return make_pose(translation=(0.3, 0, 0)) @ frame.map_from_camera

    localizer = NearlyRight(capture, rejected_share)
    return evaluate(
        capture,
        localizer,
        WALKED,
        field=SmallRoom(),
        baselines={
            'shifted_pose': Baseline(shifted, costs={'map_mb': 12.3, 'mapping_s': 45.6}),
            'middle': Baseline(lambda frame: WALKED[0], position_only=True),
            'mute': Baseline(mute, max_images=4),
        },
    )


def mute(frame: Frame) -> None:
    """Answer nothing, ever."""


def page_of(evaluation: Evaluation, map_: Map, capture: Capture) -> str:
    return report_html(
        evaluation, map_, capture, SmallRoom(), WALKED, command='nerf-reversal evaluate "a<b"'
    )


@pytest.fixture(scope='module')
def page(map_: Map, capture: Capture) -> str:
    return page_of(judged(capture, 0.3), map_, capture)


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    found = Page(page)
    assert len(found.sources) > 20
    assert {urlparse(source).scheme for source in found.sources} == {'data'}
    assert 'url(' not in page and '@import' not in page


def test_every_picture_can_be_read_out_loud(page: str) -> None:
    assert all(alt for alt in Page(page).alts)


def test_the_contents_lead_to_every_section(page: str) -> None:
    found = Page(page)
    assert [link.removeprefix('#') for link in found.links] == found.ids
    assert found.ids == [
        'figures',
        'pictures',
        'trajectories',
        'time',
        'distribution',
        'rejected',
        'calibration',
        'risk',
        'latency',
        'build',
        'command',
    ]


def test_names_from_outside_cannot_become_markup(page: str) -> None:
    assert 'a<b' not in page and 'a&lt;b' in page
    assert '17 of at least 30 &lt;agree&gt;' in page


@pytest.mark.parametrize('rejected_share', [0.0, 1.0])
def test_a_report_of_only_successes_or_only_rejections_can_be_written(
    map_: Map, capture: Capture, rejected_share: float
) -> None:
    evaluation = judged(capture, rejected_share)
    page = page_of(evaluation, map_, capture)
    assert ('Nothing was published' in page) == (rejected_share == 1.0)
    assert ('<p>None.</p>' in page) == (rejected_share == 0.0)


def test_what_the_build_warned_of_is_said_before_all_figures(
    page: str, map_: Map, capture: Capture
) -> None:
    warned = Map(map_.path, {**map_.manifest, 'warnings': ['warning: lengths <are> a guess']})
    told = page_of(judged(capture, 0.3), warned, capture)
    assert told.index('warning: lengths &lt;are&gt; a guess') < told.index('<nav')
    assert 'warning: lengths' not in page and '<p class="warning">' not in page


def test_the_verdict_is_a_sentence_anybody_understands(capture: Capture) -> None:
    said = headline(
        {
            'images': 10,
            'published': 8,
            'median_translation_m': 0.0213,
            'median_rotation_deg': 0.5,
            'worst_published_translation_m': 0.2,
            'worst_published_rotation_deg': 3.0,
        }
    )
    assert said == (
        '8 of 10 pictures were localized; half of all are within 2.13 cm and 0.5\u00b0. The worst'
        ' published answer is 20 cm and 3\u00b0 off.'
    )


def test_the_terminal_shows_every_method_in_columns(capture: Capture) -> None:
    lines = summary_text(judged(capture, 0.3).metrics).splitlines()
    table = lines[2:10]
    assert len({len(line) for line in table}) == 1
    names = [line.split('  ')[0] for line in table[1:]]
    assert names == [
        'published',
        'refined, no gate',
        'regressor alone',
        'shifted pose',
        'middle\u2020',
        'mute\u2021',
        'nearest reference pose*',
    ]


def test_a_method_without_rotation_shows_no_figure_of_one(capture: Capture) -> None:
    metrics = judged(capture, 0.3).metrics
    head, *rows = summary_rows(metrics)
    (middle,) = (row for row in rows if row[0] == 'middle\u2020')
    shown = dict(zip(head, middle, strict=True))
    assert {shown[name] for name in head if 'deg' in name} == {'\u2013'}
    assert float(shown['median cm']) > 0 and float(shown['worst cm']) > 0
    assert shown['0.1 m'] == '6 %'  # one of 16 pictures was taken there
    assert '\u2020 tells a position only' in summary_text(metrics)


def test_a_method_that_never_answers_has_dashes_and_no_share(capture: Capture) -> None:
    (row,) = (row for row in summary_rows(judged(capture, 0.3).metrics) if 'mute' in row[0])
    assert row[1:5] == ['0/4', '\u2013', '180', '0 %']
    assert row[8:10] == ['\u2013', '\u2013']


def test_a_method_that_was_asked_about_few_pictures_says_so(capture: Capture, map_: Map) -> None:
    said = 'slow, and asked about 4 of the pictures only, evenly spread'
    evaluation = judged(capture, 0.3)
    assert f'\u2021 {said}' in summary_text(evaluation.metrics)
    assert said in page_of(evaluation, map_, capture)


def test_what_a_map_of_each_method_takes_is_told(capture: Capture) -> None:
    rows = {row[0]: row[-2:] for row in summary_rows(judged(capture, 0.3).metrics)}
    assert rows[''] == ['map MB', 'mapping s']
    assert rows['shifted pose'] == ['12.3', '45.6']
    assert rows['mute\u2021'] == ['\u2013', '\u2013']


def test_the_seed_s_measure_of_ours_stands_beside_that_of_its_networks(capture: Capture) -> None:
    metrics = judged(capture, 0.3).metrics
    metrics['accuracy_0.1m'] = 0.75
    metrics['baselines']['seed_cnn'] = {**metrics['baselines']['middle'], 'accuracy_0.1m': 0.151}
    said = 'the measure of the seed project: published 75 %, seed cnn 15 %'
    assert said in summary_text(metrics)


def test_figures_have_three_digits_that_count() -> None:
    given = [0.012345, 1.23456, 99.94, 123.456, None, float('inf')]
    shown = ['0.0123', '1.23', '99.9', '123', '\u2013', '\u2013']
    assert [format_number(value) for value in given] == shown
