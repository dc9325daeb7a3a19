"""``nerf-reversal evaluate``: arguments that are checked before any work."""

from pathlib import Path

from command_line import run_command, user_error

from nerf_reversal_ros.maps.map_folder import Map


def test_an_unknown_baseline_is_reported_with_the_known_ones() -> None:
    stderr = run_command('evaluate', 'no.map', 'no.bag', '--baselines', 'sift').stderr
    assert 'known are mean_pose, nearest_reference, pca_retrieval, vlad_retrieval, ' in stderr


def test_a_baseline_without_its_reference_names_the_option(tmp_path: Path) -> None:
    error = user_error('evaluate', tmp_path, tmp_path, '--baselines', 'sift_pnp')
    assert '--reference' in error


def test_a_reference_other_than_the_mapping_bag_is_rejected_before_any_image_is_localized(
    small_map: Map, bag: Path, tmp_path: Path
) -> None:
    mapping_bag = small_map.path.parent / 'walk'

    def last_error(*arguments: object) -> str:
        completed = run_command('evaluate', small_map.path, *arguments)
        assert completed.returncode == 1 and 'evaluate: ' not in completed.stderr
        return completed.stderr.splitlines()[-1]

    nowhere = tmp_path / 'nowhere'
    assert f'there is no bag at {nowhere}' in last_error(mapping_bag, '--reference', nowhere)
    assert f'there is no bag at {nowhere}' in last_error(nowhere, '--reference', mapping_bag)
    assert (
        f'{bag} is not the bag that the map was built from, it has only 0 of the 48 mapping poses'
    ) in last_error(mapping_bag, '--reference', bag)


def test_an_unwritable_output_is_reported_before_any_work(tmp_path: Path) -> None:
    nowhere = tmp_path / 'no/metrics.json'
    error = user_error('evaluate', tmp_path / 'no.map', tmp_path / 'no.bag', '--json', nowhere)
    assert 'no does not exist' in error
    error = user_error('localize', tmp_path / 'no.map', tmp_path / 'no.bag', '--out', tmp_path)
    assert 'it is a folder' in error
