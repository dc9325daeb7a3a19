"""The table of several rooms: plans are checked, and figures are combined over the builds."""

from pathlib import Path
import sys

from benchmark_scripts import imported_script
from code_reference.python_source import REPOSITORY
import pytest

from nerf_reversal_ros.core.errors import ConfigError

KITCHEN = """
kitchen:
  mapping: ../data/kitchen
  mapping_frames: '450:850'
  query: ../data/kitchen
  query_frames: '870:1000'
  poses: ../data/poses.txt
hall: {mapping: hall/walk, query: /somewhere/test}
"""


@pytest.fixture(scope='module')
def rooms():
    """Return the script ``benchmark/rooms.py``."""
    with imported_script('rooms') as script:
        yield script


def block(cm=1.0, deg=0.5, p50=40.0, incorrect=0, anees=None, **more):
    """Return the metrics of one method on 20 images, 19 of them localized."""
    return {
        'images': 20,
        'published': 19,
        'rejected': {'low probability': 1},
        'median_translation_m': cm / 100,
        'median_rotation_deg': deg,
        'recall': {'2cm_2deg': 0.5, '5cm_5deg': 0.925},
        'accuracy_0.1m': 0.95,
        'worst_published_translation_m': 0.04,
        'worst_published_rotation_deg': 2.0,
        'wrong_published': incorrect,
        'anees': anees,
        'latency_ms': {'p50': p50},
        **more,
    }


def metrics(cm=1.0, anees=6.0, hloc_ms=80.0):
    """Return the metrics of one build, with two baselines."""
    return block(
        cm,
        anees=anees,
        incorrect=2,
        stages={'regressor': block()},
        baselines={
            'hloc_sift': block(0.7, p50=hloc_ms, position_only=False),
            'seed_cnn': block(28, position_only=True),
        },
        oracle_nearest_reference=block(p50=None),
        aligned=None,
    )


def test_paths_of_a_plan_are_relative_to_its_folder(rooms, tmp_path):
    plan = tmp_path / 'plans/rooms.yaml'
    plan.parent.mkdir()
    plan.write_text(KITCHEN)
    kitchen, hall = rooms.read_plan(plan).values()
    assert kitchen.mapping.resolve() == kitchen.query.resolve() == tmp_path / 'data/kitchen'
    assert kitchen.poses.resolve() == tmp_path / 'data/poses.txt'
    assert (kitchen.mapping_frames, kitchen.query_frames) == (slice(450, 850), slice(870, 1000))
    assert hall.mapping == tmp_path / 'plans/hall/walk'
    assert hall.query == Path('/somewhere/test')
    assert (hall.poses, hall.mapping_frames) == (None, None)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'names no room: write NAME'),
        ('a: {mapping: b}', 'has no query: give a bag'),
        ('a: {mapping: b, query: c, pose: d}', 'unknown setting a.pose: did you mean poses'),
        ('a: [b, c]', 'a must hold names and values'),
        ('a: {mapping: b, query: c, query_frames: 1:30}', "'A:B' in quotes"),
        ("a: {mapping: b, query: c, query_frames: '9:3'}", 'range 9:3 is empty: give A < B'),
        ('../a: {mapping: b, query: c}', 'cannot name a folder of WORK: leave out the slashes'),
    ],
)
def test_a_plan_that_cannot_be_used_is_an_error_that_names_the_place(
    rooms, tmp_path, text, message
):
    plan = tmp_path / 'rooms.yaml'
    plan.write_text(text)
    with pytest.raises(ConfigError, match=message):
        rooms.read_plan(plan)


def test_the_plan_of_the_repository_can_be_read(rooms):
    plan = rooms.read_plan(REPOSITORY / 'benchmark/rooms.yaml')
    assert list(plan)[:3] == ['kitchen', 'tum_desk', 'demo']
    rooms.check_files(plan['demo'])


def test_figures_are_median_and_range_of_the_builds(rooms):
    rows = rooms.method_rows([metrics(1.0), metrics(3.0, anees=9.0), metrics(1.5, hloc_ms=50.0)])
    assert list(rows)[:2] == ['this package', 'hloc with SIFT, real images']
    assert len(rows) == 3  # neither the regressor alone nor the oracle
    named = dict(zip(rooms.COLUMNS[2:], rows['this package'], strict=True))
    cells = {column.heading: cell for column, cell in named.items()}
    assert (cells['images'], cells['localized'], cells['incorrect']) == (20, 19, 2)
    assert cells['median [cm]'] == pytest.approx([1.5, 1.0, 3.0])
    assert cells['within 5 cm 5 deg [%]'] == 92.5
    assert cells['ANEES/6'] == [1.0, 1.0, 1.5]
    assert cells["of hloc's p50"] == [0.5, 0.5, 0.8]
    assert rows['hloc with SIFT, real images'][-1] == 1.0


def test_a_method_without_rotation_has_no_figures_of_it(rooms):
    row = rooms.method_rows([metrics()])['CNN of the original project (position only)']
    assert row == [20, 19, pytest.approx(28), None, None, 4.0, None, None, None, 40.0, 0.5]


def test_without_hloc_there_is_no_ratio(rooms):
    one = metrics()
    del one['baselines']['hloc_sift']
    assert rooms.method_rows([one])['this package'][-2:] == [40.0, None]


def test_rooms_without_files_are_skipped_with_the_reason(rooms, tmp_path, monkeypatch, capsys):
    plan = tmp_path / 'rooms.yaml'
    plan.write_text(KITCHEN)
    monkeypatch.setattr(sys, 'argv', ['rooms.py', str(plan), str(tmp_path / 'work')])
    with pytest.raises(SystemExit, match='no room was evaluated'):
        rooms.main()
    printed = ''.join(capsys.readouterr())
    for name in ('kitchen', 'hall'):
        assert f'{name} skipped: there is no {tmp_path}' in printed
    assert not (tmp_path / 'work').exists()


def test_ground_truth_in_another_frame_is_among_the_notes(rooms):
    motion = {'translation_m': 1.2, 'rotation_deg': 34.0, 'explained': 0.95}
    notes = rooms.metrics_notes([metrics(), {**metrics(), 'aligned': motion}])
    assert sum('One rigid motion of 1.2 m and 34' in note for note in notes) == 1
