"""The command line as scripts see it: output, exit status, and one line for a user's error."""

import argparse
from collections.abc import Mapping
import contextlib
import importlib.util
import io
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_room import CAMERA, walk, write_bag

from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.cli.common_arguments import query_config
from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.convert import frame_range
from nerf_reversal_ros.cli.localize import pose_entry
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.config import BuildConfig, load_build_config
from nerf_reversal_ros.core.errors import ConfigError, MapError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.core.progress import format_duration, Progress
from nerf_reversal_ros.maps.map_folder import FORMAT_VERSION, Map
from nerf_reversal_ros.maps.map_writer import MapWriter

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, '-m', 'nerf_reversal_ros.cli.main']
ENVIRONMENT = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, as `main` would be by its entry point."""
    argv = [str(argument) for argument in arguments]
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        try:
            status = main(argv)
        except SystemExit as misuse:
            status = int(misuse.code or 0)
    return subprocess.CompletedProcess(argv, status, out.getvalue(), told.getvalue())


def error_of(*arguments: object) -> str:
    """Return the one line on stderr of a command that must fail because of its user."""
    done = run(*arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ''
    assert done.stderr.startswith('nerf-reversal: ') and done.stderr.count('\n') == 1, done.stderr
    return done.stderr


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('bags') / 'walk', walk(4))


def write_map(path: Path, more: Mapping[str, object] = {}, **built: object) -> Map:
    with MapWriter(path, {}) as writer:
        writer.path('field.bin').write_bytes(bytes(2_500_000))
        return writer.finish(
            {
                'camera': CAMERA.as_dict(),
                'capture_camera': CAMERA.as_dict(),
                'convention': PoseConvention('opengl', np.eye(4), 'floor plane').as_dict(),
                'capture': {'source': 'walk', 'counts': {'kept': 40, 'blurred': 2}},
                'built': {'date': '2026-01-01T00:00:00Z', 'device': 'cpu', **built},
                'metrics': {'psnr_db': 23.456},
                **more,
            }
        )


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'cv2', 'scipy', 'rosbags', 'matplotlib', 'rclpy'}"
    code = (
        'import sys; from nerf_reversal_ros.cli.main import build_parser;'
        ' print(build_parser().format_help());'
        f' assert not {heavy} & set(sys.modules)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    for command in ('convert', 'build', 'localize', 'evaluate', 'info', 'study'):
        assert f'\n    {command} ' in done.stdout


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['fly'],
        ['info'],
        ['localize', 'a.map', 'a.bag'],
        ['build', 'a.bag', 'a.map', '--device', 'tpu'],
        ['convert', 'a', 'b', '--format', 'zip'],
        ['convert', 'a', 'b', '--frames', '9:5'],
        ['build', 'a.bag', 'a.map', '--field', 'mesh'],
        ['evaluate', 'a.map', 'a.bag', '--baselines', 'sift'],
        ['study', 'a.bag', 'out', '--views', 'many'],
    ],
)
def test_misuse_is_status_2_and_shows_the_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: nerf-reversal')


@pytest.mark.parametrize(
    'arguments',
    [
        ['--device', 'cpu', 'walk.bag', 'room.map'],
        ['walk.bag', '--device', 'cpu', 'room.map'],
        ['walk.bag', 'room.map', '--device', 'cpu'],
        ['--overwrite', 'walk.bag', '--device', 'cpu', 'room.map', '--field', 'voxel'],
    ],
)
def test_options_of_a_build_may_stand_between_bag_and_map(arguments: list[str]) -> None:
    assert 'there is no bag at walk.bag' in error_of('build', *arguments)


@pytest.mark.skipif(
    importlib.util.find_spec('nerfstudio') is None,
    reason='nerfstudio is not installed: make test brings it',
)
def test_a_build_of_a_run_needs_no_bag_wherever_the_options_are() -> None:
    of_run = ['--field', 'nerfstudio:nowhere/config.yml']
    for arguments in ([*of_run, 'room.map'], ['room.map', *of_run]):
        assert 'nowhere/config.yml' in error_of('build', *arguments)


@pytest.mark.parametrize(
    'arguments', [['a.bag', 'b.bag', 'c.map'], ['a.bag', '--device', 'cpu', 'b.bag', 'c.map']]
)
def test_a_build_takes_a_bag_and_a_map_and_no_third(arguments: list[str]) -> None:
    done = run('build', *arguments)
    assert done.returncode == 2 and '[BAG] MAP' in ' '.join(done.stderr.split())
    assert done.stderr.splitlines()[-1] == (
        'nerf-reversal build: error: BAG and MAP, or MAP alone, are wanted, and 3 given: a.bag,'
        ' b.bag, c.map'
    )


def test_frames_are_a_up_to_b() -> None:
    assert frame_range('450:850') == slice(450, 850)
    assert frame_range('450:') == slice(450, None)
    assert frame_range(':850') == slice(None, 850)
    for wrong in ('450', '1:2:3', '-5:3', 'a:b', '3:3'):
        with pytest.raises(argparse.ArgumentTypeError):
            frame_range(wrong)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert 'there is neither a map nor a bag at' in error_of('info', tmp_path / 'nowhere')
    assert 'does not exist' in error_of('evaluate', tmp_path / 'no.map', tmp_path / 'no.bag')
    assert 'there is no recording at' in error_of('convert', tmp_path / 'no', tmp_path / 'bag')


def test_a_cut_off_bag_is_told_in_one_line(bag: Path, tmp_path: Path) -> None:
    (mcap,) = bag.glob('*.mcap')
    (tmp_path / 'cut.mcap').write_bytes(mcap.read_bytes()[:5000])
    assert 'damaged or was cut off' in error_of('info', tmp_path / 'cut.mcap')


def test_an_unknown_baseline_is_told_with_those_known() -> None:
    told = run('evaluate', 'no.map', 'no.bag', '--baselines', 'sift').stderr
    assert 'known are mean_pose, nearest_reference, pca_retrieval, vlad_retrieval, ' in told


def test_a_baseline_that_lacks_its_reference_names_the_option(tmp_path: Path) -> None:
    told = error_of('evaluate', tmp_path, tmp_path, '--baselines', 'sift_pnp')
    assert '--reference' in told


def test_a_reference_that_is_not_the_walk_of_the_map_is_told_before_anything_is_judged(
    small_map: Map, bag: Path, tmp_path: Path
) -> None:
    walked = small_map.path.parent / 'walk'

    def told(*arguments: object) -> str:
        done = run('evaluate', small_map.path, *arguments)
        assert done.returncode == 1 and 'evaluate: ' not in done.stderr
        return done.stderr.splitlines()[-1]

    nowhere = tmp_path / 'nowhere'
    assert f'there is no bag at {nowhere}' in told(walked, '--reference', nowhere)
    assert f'there is no bag at {nowhere}' in told(nowhere, '--reference', walked)
    assert (
        f'{bag} is not the bag that the map was built from, it has only 0 of the 48 mapping poses'
    ) in told(walked, '--reference', bag)


def test_a_result_that_could_not_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    nowhere = tmp_path / 'no/metrics.json'
    told = error_of('evaluate', tmp_path / 'no.map', tmp_path / 'no.bag', '--json', nowhere)
    assert 'no does not exist' in told
    told = error_of('localize', tmp_path / 'no.map', tmp_path / 'no.bag', '--out', tmp_path)
    assert 'it is a folder' in told


def test_settings_that_cannot_be_read_or_are_unknown(bag: Path, tmp_path: Path) -> None:
    settings = tmp_path / 'settings.yaml'
    assert 'cannot read the settings' in error_of('build', bag, 'm', '--config', settings)
    settings.write_text('field: [')
    assert 'are not YAML' in error_of('build', bag, 'm', '--config', settings)
    settings.write_text('field: {voxels_m: 0.02}')
    assert 'did you mean voxel_m?' in error_of('build', bag, 'm', '--config', settings)


def test_verbose_also_tells_where_an_error_arose(tmp_path: Path) -> None:
    done = run('info', tmp_path / 'nowhere', '-v')
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback')
    assert done.stderr.splitlines()[-1].startswith('nerf-reversal: there is neither')


def test_info_of_a_bag_tells_its_topics_pictures_and_length(bag: Path) -> None:
    told = run('info', bag).stdout
    assert 'is a bag of 16 messages over 0.6 s' in told
    assert 'sensor_msgs/msg/CameraInfo  (default topic of camera_info)' in told
    assert 'Pictures of 240x180.' in told
    assert 'All default topics are there' in told


def test_info_of_a_bag_names_the_default_topics_that_it_lacks(tmp_path: Path) -> None:
    told = run('info', write_bag(tmp_path / 'flat', walk(3), depth=False)).stdout
    assert 'Missing or empty: depth /record3d/device_0/depth/img; set these topics' in told


def test_info_of_a_map_tells_what_it_is_and_where_it_comes_from(tmp_path: Path) -> None:
    write_map(tmp_path / 'room.map', seconds={'field': 200.0, 'synthesis': 40.0})
    told = run('info', tmp_path / 'room.map').stdout
    assert (
        f'format version {FORMAT_VERSION}) of 2.5 MB, its 1 files are complete and unchanged.'
        in told
    )
    assert 'Built 2026-01-01T00:00:00Z (' in told and ' ago)' in told
    assert 'Building took 4 min 0 s: field 3 min 20 s, synthesis 40 s.' in told
    assert 'Capture walk: 40 kept, 2 blurred.' in told
    assert 'Poses of the bag: opengl; up from floor plane.' in told
    assert 'Camera of the regressor: 240x180, focal length 200.0, 200.0 px.' in told
    assert 'psnr_db: 23.46' in told
    assert '2.500 MB  field.bin' in told


def test_info_of_a_map_of_a_run_tells_its_field_its_warnings_and_that_it_had_no_bag(
    tmp_path: Path,
) -> None:
    convention = PoseConvention('optical', np.eye(4), 'average camera up', of_bag=False)
    more = {'warnings': ['warning: lengths are a guess'], 'convention': convention.as_dict()}
    write_map(tmp_path / 'room.map', more, field='nerfstudio:runs/config.yml')
    told = run('info', tmp_path / 'room.map').stdout.splitlines()
    assert 'Field: nerfstudio:runs/config.yml.' in told
    assert 'warning: lengths are a guess' in told
    assert 'Built without a bag; up from average camera up.' in told
    assert not any('Poses of the bag' in line for line in told)


def test_info_of_a_damaged_or_unfinished_map_is_an_error(tmp_path: Path) -> None:
    write_map(tmp_path / 'room.map')
    (tmp_path / 'room.map/field.bin').write_bytes(b'')
    assert '(truncated?)' in error_of('info', tmp_path / 'room.map')
    with MapWriter(tmp_path / 'next.map', {}) as writer:
        writer.finish_stage('field')
    assert 'is unfinished' in error_of('info', tmp_path / 'next.map')


def test_the_exit_status_is_that_of_the_process(tmp_path: Path) -> None:
    command = [*COMMAND, 'info', str(tmp_path / 'nowhere')]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr == f'nerf-reversal: there is neither a map nor a bag at {command[-1]}\n'


def test_a_reader_that_has_seen_enough_is_no_error(bag: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, 'w') as nobody:
        done = subprocess.run(
            [*COMMAND, 'info', str(bag)],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, '')


def wait_until_read(fifo: Path, child: subprocess.Popen) -> int:
    """Return the writing end of a FIFO as soon as the child has opened it for reading."""
    while child.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f'ended too early: {child.communicate()[1]}')


def test_an_interrupted_build_says_that_it_can_be_resumed(bag: Path, tmp_path: Path) -> None:
    settings = tmp_path / 'settings.yaml'
    os.mkfifo(settings)  # the command waits for somebody to write them
    command = [*COMMAND, 'build', str(bag), str(tmp_path / 'm'), '--config', str(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as child:
        writing = wait_until_read(settings, child)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)
        os.close(writing)
    assert child.returncode == 130
    assert told == 'nerf-reversal: interrupted; the same command goes on where it stopped\n'


def test_ctrl_c_ends_a_command_soon_also_while_native_code_is_at_work() -> None:
    program = (
        'import hashlib, sys\n'
        'from nerf_reversal_ros.cli.interrupts import exit_soon_on_interrupt\n'
        'with exit_soon_on_interrupt(lambda: print("interrupted", file=sys.stderr)):\n'
        '    print("at work", flush=True)\n'
        '    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)\n'  # half an hour
    )
    command = [sys.executable, '-c', program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == 'at work\n'
        time.sleep(1.0)  # until native code is at work indeed
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)
    assert (child.returncode, told) == (130, 'interrupted\n')


def test_ctrl_c_in_a_callback_that_swallows_it_is_no_traceback() -> None:
    program = (
        'import signal, weakref\n'
        'from nerf_reversal_ros.cli.interrupts import exit_soon_on_interrupt\n'
        'class Gone: pass\n'
        'with exit_soon_on_interrupt(lambda: print("interrupted", flush=True)):\n'
        '    gone = Gone()\n'
        '    seen = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))\n'
        '    del gone\n'
        '    while True: pass\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, 'interrupted\n', '')


def test_the_entry_of_a_localized_picture() -> None:
    turned = make_pose(Rotation.from_euler('z', 180, degrees=True), (1, 2, 3))
    entry = pose_entry(1_700_000_000_123_456_789, PoseEstimate(turned, np.eye(6)))
    assert entry['stamp_ns'] == 1_700_000_000_123_456_789
    assert entry['stamp'] == {'sec': 1_700_000_000, 'nanosec': 123_456_789}
    assert entry['map_from_camera']['position'] == [1, 2, 3]
    assert entry['map_from_camera']['orientation_xyzw'] == pytest.approx([0, 0, 1, 0])
    assert entry['covariance'] == np.eye(6).tolist()
    json.dumps(entry)


def test_the_entry_of_a_rejected_picture_has_the_reason() -> None:
    entry = pose_entry(5, Rejection('too few inliers', '12 < 30'))
    assert entry['rejected'] == 'too few inliers' and entry['detail'] == '12 < 30'
    assert 'map_from_camera' not in entry


def arguments(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{'device': None, 'config': None, **given})


def test_a_bag_is_read_as_the_one_that_the_map_was_built_from(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'image_topic': '/cam'}})
    config = query_config(map_, arguments(device='cpu'))
    assert config.capture.image_topic == '/cam'
    assert config.localizer.device == 'cpu'


def test_a_settings_file_goes_before_what_the_map_says(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'image_topic': '/cam'}})
    settings = tmp_path / 'query.yaml'
    settings.write_text('capture: {image_topic: /other}\nlocalizer: {max_std_m: 0.1}')
    config = query_config(map_, arguments(config=settings))
    assert config.capture.image_topic == '/other'
    assert config.localizer.max_std_m == 0.1
    settings.write_text('localiser: {}')
    with pytest.raises(ConfigError, match='did you mean localizer'):
        query_config(map_, arguments(config=settings))
    settings.write_text('capture: 5')
    with pytest.raises(ConfigError, match=r'capture must hold names and values, got 5'):
        query_config(map_, arguments(config=settings))
    settings.write_text('localizer: fast')
    with pytest.raises(ConfigError, match=r"localizer must hold names and values, got 'fast'"):
        query_config(map_, arguments(config=settings, device='cpu'))


def test_an_empty_section_of_settings_changes_nothing(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'image_topic': '/cam'}})
    settings = tmp_path / 'query.yaml'
    settings.write_text('capture:\nlocalizer:\n')
    assert query_config(map_, arguments(config=settings)) == query_config(map_, arguments())
    settings.write_text('field:\ncapture:\n')
    assert load_build_config(settings) == BuildConfig()


def test_a_map_with_settings_from_elsewhere_is_refused(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'picture_topic': '/cam'}})
    with pytest.raises(MapError, match=r'settings unknown here: unknown setting capture\.picture'):
        query_config(map_, arguments())


def test_without_a_terminal_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressConsole() as console:
        console(Progress('field', 0, 10, 'resuming'))
        console(Progress('field', 5, 10, 'loss 0.2'))
        console(Progress('field', 10, 10, 'loss 0.1'))
        console(Progress('synthesis', 3, 3))
    assert capsys.readouterr().err.splitlines() == [
        'field: resuming',
        'field: 10/10, took 0 s, loss 0.1',
        'synthesis: 3/3, took 0 s',
    ]


def test_durations_are_written_for_people() -> None:
    assert [format_duration(s) for s in (8, 59.7, 200, 7500)] == [
        '8 s',
        '1 min 0 s',
        '3 min 20 s',
        '2 h 5 min',
    ]
