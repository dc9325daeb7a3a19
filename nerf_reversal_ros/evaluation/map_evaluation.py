"""Evaluate a map folder on a bag with ground truth: open both, evaluate, format the results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.baselines.baselines import (
    Baseline,
    BaselineInputs,
    check_reference,
    create_baseline,
    parse_baselines,
    skipped_baselines,
)
from nerf_reversal_ros.capture.capture import Capture, DepthCorrection
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import QueryConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.evaluation.evaluation import check_has_images, evaluate, Evaluation
from nerf_reversal_ros.evaluation.report import report_html
from nerf_reversal_ros.evaluation.summary import summary_text
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.maps.map_folder import Map


class MapEvaluation(NamedTuple):
    """An evaluation with the map and the images that it was made on."""

    evaluation: Evaluation
    map: Map
    capture: Capture
    """The images with their ground truth."""
    field: VoxelField
    """The field of the map."""

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return self.evaluation.metrics

    def summary(self) -> str:
        """Return headline and table, and advice on a wrong camera_info, for a terminal."""
        advice = self.evaluation.camera_advice(self.capture.camera)
        return '\n'.join(filter(None, [summary_text(self.metrics), advice]))

    def report_html(self, command: str) -> str:
        """Return the report as one HTML page; ``command`` is the command line that made it."""
        return report_html(
            self.evaluation,
            self.map,
            self.capture,
            self.field,
            self.map.mapping_poses,
            command=command,
        )


def evaluate_map(
    map_: Map,
    bag: Path | str,
    *,
    reference: Path | str | None = None,
    baselines: str = 'none',
    config: QueryConfig | None = None,
    progress: ProgressCallback = no_progress,
    on_skip: Callable[[str], None] = lambda sentence: None,
) -> MapEvaluation:
    """
    Localize every image of a bag and compute errors against the poses of the bag.

    Parameters
    ----------
    map_ : Map
        The map, see `open_map`.
    bag : str or Path
        rosbag2 with images and ground truth, in the same world as the mapping bag. Another world
        is reported under ``aligned`` in the metrics.
    reference : str or Path, optional
        The mapping bag, for baselines that need its images.
    baselines : str
        ``none``, ``all`` that are available, or names separated by commas.
    config : QueryConfig, optional
        How the bag is read and how images are localized; default: ``map_.query_config({})``.
    progress : callable, optional
        Called after each image.
    on_skip : callable, optional
        Called with one sentence for each baseline that ``all`` skips.

    Raises
    ------
    CaptureError, ConfigError, MapError
        If a bag, a baseline or the map cannot be used.
    """
    bag, reference = Path(bag), None if reference is None else Path(reference)
    names = parse_baselines(baselines, has_reference=reference is not None)
    config = config or map_.query_config({})
    _check_bags(bag, reference)
    skip = on_skip if baselines == 'all' else None
    if skip:
        for reason in skipped_baselines(has_reference=reference is not None):
            skip(reason)
    reference_capture = _open_reference(map_, reference, config, progress) if reference else None
    capture = _open(map_, bag, config, progress)
    check_has_images(capture)
    return _evaluate_capture(map_, capture, reference_capture, names, config, progress, skip)


def map_costs(map_: Map) -> dict[str, float]:
    """Return what a map costs: the time of its build [s] and its size [MB]."""
    manifest = map_.manifest
    return {
        'mapping_s': sum(manifest.get('built', {}).get('seconds', {}).values()),
        'map_mb': sum(entry['bytes'] for entry in manifest['files'].values()) / 1e6,
    }


def _check_bags(*paths: Path | None) -> None:
    """Raise CaptureError for a path that is not a bag, before anything is loaded."""
    for path in filter(None, paths):
        with BagReader(path):
            pass


def _open(map_: Map, bag: Path, config: QueryConfig, progress: ProgressCallback) -> Capture:
    """Open every frame of a bag in the frame of the map."""
    return open_capture(
        bag, config.capture, convention=map_.convention, select_frames=False, progress=progress
    )


def _open_reference(
    map_: Map, bag: Path, config: QueryConfig, progress: ProgressCallback
) -> Capture:
    """Open the mapping bag with the depth correction that the map was built with."""
    reference = _open(map_, bag, config, progress)
    adjustment = map_.manifest.get('capture', {}).get('pose_adjustment', {})
    change_m = adjustment['max_change_m'] if adjustment.get('kept') else 0.0
    check_reference(reference, _poses_from_bag(map_), change_m)
    correction = DepthCorrection(**map_.manifest.get('depth_correction', {}))
    return reference.with_depth_correction(correction)


def _poses_from_bag(map_: Map) -> FloatArray:
    """Return the mapping poses (K, 4, 4) of the bag; cameras of a nerfstudio run follow them."""
    kept = map_.manifest.get('capture', {}).get('counts', {}).get('kept')
    return map_.mapping_poses[:kept]


def _evaluate_capture(
    map_: Map,
    capture: Capture,
    reference: Capture | None,
    names: Sequence[str],
    config: QueryConfig,
    progress: ProgressCallback,
    on_skip: Callable[[str], None] | None,
) -> MapEvaluation:
    """Load the localizer, the field and the baselines of a map, and evaluate them."""
    localizer = open_localizer(map_, config.localizer)
    device = resolve_device(config.localizer.device)
    field = VoxelField.load(map_.file('field.safetensors'), device)
    costs, poses = map_costs(map_), map_.mapping_poses
    inputs = BaselineInputs(poses, localizer.regressor, reference, progress, field)
    evaluation = evaluate(
        capture,
        localizer,
        poses,
        field=field,
        baselines=_create_baselines(names, inputs, costs, on_skip),
        map_costs=costs,
        progress=progress,
    )
    return MapEvaluation(evaluation, map_, capture, field)


def _create_baselines(
    names: Sequence[str],
    inputs: BaselineInputs,
    costs: dict[str, float],
    on_skip: Callable[[str], None] | None,
) -> dict[str, Baseline]:
    """Create baselines by name; without ``on_skip`` a failure is an error."""
    created = {}
    for name in names:
        try:
            created[name] = create_baseline(name, inputs, costs)
        except CaptureError as error:
            if on_skip is None:
                raise
            on_skip(f'{name} skipped: {error}')
    return created
