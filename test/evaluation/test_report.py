"""The report is one self-contained file; the terminal summary holds the same numbers."""

from copy import deepcopy
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
from nerf_reversal_ros.core.capture_config import CaptureConfig
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

IDENTITY_CONVENTION = PoseConvention('optical', np.eye(4), 'configured')
MAPPING_POSES = walk(40)
TRAINING = {
    'field': {'step': [1, 2, 3], 'loss': [0.3, 0.2, 0.1]},
    'regressor': {
        'epoch': [1, 2],
        'train_loss': [1.0, 0.5],
        'val_translation_m': [0.4, 0.2],
        'val_rotation_deg': [20.0, 9.0],
    },
    'pca': {'retained_variance': [0.3, 0.5, 0.6]},
}


class NoisyLocalizer:
    """A localizer that returns the ground truth with noise from a seeded generator."""

    def __init__(self, capture: Capture, rejected_fraction: float) -> None:
        self._poses_gt = {frame.rgb.tobytes(): frame.map_from_camera for frame in capture}
        self._rejected_fraction = rejected_fraction

    def localize(
        self, rgb: np.ndarray, camera: Camera, *, expected_pose: np.ndarray | None = None
    ) -> Outcome:
        """Return a pose with a standard error of 1 cm, or reject the image."""
        pose_gt = self._poses_gt[rgb.tobytes()]
        rng = np.random.default_rng(int(rgb[:20].sum()))
        regressed = self._add_noise(rng, pose_gt, 0.1, 0.06)
        refined = self._add_noise(rng, pose_gt, 0.01, 0.006)
        probability = rng.uniform(0.99, 1.0)
        diagnostics = Diagnostics(
            regressed, refined, {'probability': probability}, {'regress': 6.0, 'refine': 50.0}
        )
        if rng.uniform() < self._rejected_fraction:
            return Rejection('too few inliers', '17 of at least 30 <agree>', diagnostics)
        return PoseEstimate(refined, np.diag([1e-4] * 3 + [4e-5] * 3), diagnostics)

    @staticmethod
    def _add_noise(
        rng: np.random.Generator, pose_gt: np.ndarray, std_m: float, std_rad: float
    ) -> np.ndarray:
        noisy = make_pose(Rotation.from_rotvec(rng.normal(0, std_rad, 3))) @ pose_gt
        noisy[:3, 3] = pose_gt[:3, 3] + rng.normal(0, std_m, 3)
        return noisy


class Page(HTMLParser):
    """Sources, links, anchors and alternative texts of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of a tag."""
        attributes = dict(attrs)
        if tag == 'img':
            self.sources.append(attributes.get('src') or '')
            self.alts.append(attributes.get('alt'))
        if tag == 'a':
            self.links.append(attributes.get('href') or '')
        if attributes.get('id'):
            self.ids.append(attributes['id'] or '')
        assert tag not in ('script', 'link', 'iframe')


@pytest.fixture(scope='module')
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    bag = write_bag(tmp_path_factory.mktemp('bags') / 'a<b', walk(16, phase=0.1))
    return open_capture(bag, CaptureConfig(), convention=IDENTITY_CONVENTION, select_frames=False)


@pytest.fixture(scope='module')
def map_(tmp_path_factory: pytest.TempPathFactory) -> Map:
    with MapWriter(tmp_path_factory.mktemp('maps') / 'room.map', {}) as writer:
        writer.path('training.json').write_text(json.dumps(TRAINING))
        return writer.finish(
            {
                'camera': CAMERA.as_dict(),
                'convention': IDENTITY_CONVENTION.as_dict(),
                'built': {'date': '2026-01-01T00:00:00+00:00', 'seconds': {'field': 61.0}},
                'metrics': {'psnr_db': 23.4},
            }
        )


def evaluation_with(capture: Capture, rejected_fraction: float) -> Evaluation:
    def shift_x(frame: Frame) -> np.ndarray:
        return make_pose(translation=(0.3, 0, 0)) @ frame.map_from_camera

    localizer = NoisyLocalizer(capture, rejected_fraction)
    return evaluate(
        capture,
        localizer,
        MAPPING_POSES,
        field=SmallRoom(),
        baselines={
            'shifted_pose': Baseline(shift_x, costs={'map_mb': 12.3, 'mapping_s': 45.6}),
            'middle': Baseline(lambda frame: MAPPING_POSES[0], position_only=True),
            'mute': Baseline(localize_nothing, max_images=4),
        },
    )


def localize_nothing(frame: Frame) -> None:
    """Return no pose for any frame."""


def page_of(evaluation: Evaluation, map_: Map, capture: Capture) -> str:
    return report_html(
        evaluation,
        map_,
        capture,
        SmallRoom(),
        MAPPING_POSES,
        command='nerf-reversal evaluate "a<b"',
    )


@pytest.fixture(scope='module')
def evaluation(capture: Capture) -> Evaluation:
    """Evaluate with a third of the images rejected; tests do not change it."""
    return evaluation_with(capture, 0.3)


@pytest.fixture(scope='module')
def page(evaluation: Evaluation, map_: Map, capture: Capture) -> str:
    return page_of(evaluation, map_, capture)


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.sources) > 20
    assert {urlparse(source).scheme for source in parsed.sources} == {'data'}
    assert 'url(' not in page and '@import' not in page


def test_every_image_has_an_alternative_text(page: str) -> None:
    assert all(alt for alt in Page(page).alts)


def test_the_table_of_contents_links_to_every_section(page: str) -> None:
    parsed = Page(page)
    assert [link.removeprefix('#') for link in parsed.links] == parsed.ids
    assert parsed.ids == [
        'figures',
        'images',
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


def test_names_of_files_and_reasons_are_escaped(page: str) -> None:
    assert 'a<b' not in page and 'a&lt;b' in page
    assert '17 of at least 30 &lt;agree&gt;' in page


@pytest.mark.parametrize('rejected_fraction', [0.0, 1.0])
def test_a_report_of_only_successes_or_only_rejections_can_be_written(
    map_: Map, capture: Capture, rejected_fraction: float
) -> None:
    evaluation = evaluation_with(capture, rejected_fraction)
    page = page_of(evaluation, map_, capture)
    assert ('No image was accepted' in page) == (rejected_fraction == 1.0)
    assert ('<p>None.</p>' in page) == (rejected_fraction == 0.0)


def test_warnings_of_the_build_stand_before_all_sections(
    page: str, evaluation: Evaluation, map_: Map, capture: Capture
) -> None:
    map_with_warning = Map(
        map_.path, {**map_.manifest, 'warnings': ['warning: lengths <are> a guess']}
    )
    warned = page_of(evaluation, map_with_warning, capture)
    assert warned.index('warning: lengths &lt;are&gt; a guess') < warned.index('<nav')
    assert 'warning: lengths' not in page and '<p class="warning">' not in page


@pytest.fixture(scope='module')
def turned(capture: Capture) -> Evaluation:
    """Return an evaluation whose ground truth is of another world, turned by 34 degrees."""
    world = make_pose(Rotation.from_euler('z', 34, degrees=True), (1.2, 0, 0.25))
    other = open_capture(
        capture.source,
        CaptureConfig(),
        convention=PoseConvention('optical', world, 'configured'),
        select_frames=False,
    )
    return evaluate(other, NoisyLocalizer(capture, 0.3), MAPPING_POSES, field=SmallRoom())


SENTENCE = (
    'One rigid motion of 1.23 m and 34\u00b0 explains 100 % of the accepted poses: the ground'
    ' truth is in another frame than the map.'
)


def test_ground_truth_of_another_frame_is_told_before_all_sections(
    turned: Evaluation, map_: Map, capture: Capture, page: str
) -> None:
    turned.metrics['aligned'].update(translation_m=1.2258, rotation_deg=34.02)
    told = page_of(turned, map_, capture)
    assert told.index(SENTENCE) < told.index('<nav')
    sections = {text.partition('"')[0]: text for text in told.split('<section id="')[1:]}
    twice = {name for name, text in sections.items() if text.count('<h3>') == 2}
    assert twice == {
        *('figures', 'images', 'trajectories', 'time', 'distribution', 'calibration', 'risk')
    }
    for name in twice:
        as_it_is = sections[name].index('<h3>With the ground truth as it is</h3>')
        assert as_it_is < sections[name].index('<h3>After one rigid motion of the ground truth')
    assert 'rigid motion' not in page and '<h3>' not in page


def test_the_summary_has_both_sets_of_figures_marked(turned: Evaluation) -> None:
    turned.metrics['aligned'].update(translation_m=1.2258, rotation_deg=34.02)
    text = summary_text(turned.metrics)
    assert text.startswith(SENTENCE)
    before, after = text.split('After one rigid motion of the ground truth, fitted to the')
    rows = [
        next(line.split() for line in part.splitlines() if line.startswith('accepted '))
        for part in (before.partition('With the ground truth as it is:')[2], after)
    ]
    assert float(rows[0][2]) > 50 and float(rows[1][2]) < 5


def test_the_headline_states_counts_medians_and_worst_errors() -> None:
    text = headline(
        {
            'images': 10,
            'published': 8,
            'median_translation_m': 0.0213,
            'median_rotation_deg': 0.5,
            'worst_published_translation_m': 0.2,
            'worst_published_rotation_deg': 3.0,
        }
    )
    assert text == (
        '8 of 10 images were localized; half of all are within 2.13 cm and 0.5\u00b0. The largest'
        ' errors of accepted poses are 20 cm and 3\u00b0.'
    )


def test_the_summary_is_a_table_with_a_row_for_each_method(evaluation: Evaluation) -> None:
    lines = summary_text(evaluation.metrics).splitlines()
    table = lines[2:10]
    assert len({len(line) for line in table}) == 1
    names = [line.split('  ')[0] for line in table[1:]]
    assert names == [
        'accepted',
        'refined, no gate',
        'regressor alone',
        'shifted pose',
        'middle\u2020',
        'mute\u2021',
        'nearest reference pose*',
    ]


def test_a_position_only_method_has_dashes_for_rotation(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    head, *rows = summary_rows(metrics)
    (middle,) = (row for row in rows if row[0] == 'middle\u2020')
    cells = dict(zip(head, middle, strict=True))
    assert {cells[name] for name in head if 'deg' in name} == {'\u2013'}
    assert float(cells['median cm']) > 0 and float(cells['worst cm']) > 0
    assert cells['0.1 m'] == '6 %'  # one of 16 images was taken there
    assert '\u2020 estimates a position only' in summary_text(metrics)


def test_a_method_without_any_pose_has_dashes_and_no_recall(evaluation: Evaluation) -> None:
    (row,) = (row for row in summary_rows(evaluation.metrics) if 'mute' in row[0])
    assert row[1:5] == ['0/4', '\u2013', '180', '0 %']
    assert row[8:10] == ['\u2013', '\u2013']


def test_a_slow_method_is_marked_with_the_number_of_its_images(
    evaluation: Evaluation, page: str
) -> None:
    note = 'slow: evaluated on 4 evenly spaced images only'
    assert f'\u2021 {note}' in summary_text(evaluation.metrics)
    assert note in page


def test_the_table_holds_size_and_time_of_each_map(evaluation: Evaluation) -> None:
    rows = {row[0]: row[-2:] for row in summary_rows(evaluation.metrics)}
    assert rows[''] == ['map MB', 'mapping s']
    assert rows['shifted pose'] == ['12.3', '45.6']
    assert rows['mute\u2021'] == ['\u2013', '\u2013']


def test_the_measure_of_the_original_project_compares_its_networks(evaluation: Evaluation) -> None:
    metrics = deepcopy(evaluation.metrics)
    metrics['accuracy_0.1m'] = 0.75
    metrics['baselines']['seed_cnn'] = {**metrics['baselines']['middle'], 'accuracy_0.1m': 0.151}
    note = 'the measure of the original project: accepted 75 %, seed cnn 15 %'
    assert note in summary_text(metrics)


def test_numbers_have_three_significant_digits() -> None:
    values = [0.012345, 1.23456, 99.94, 123.456, None, float('inf')]
    texts = ['0.0123', '1.23', '99.9', '123', '\u2013', '\u2013']
    assert [format_number(value) for value in values] == texts
