"""
Repeat the study of the original project: which network, on which input, regresses positions best.

"NeRF Reversal" (student project, Georgia Tech, 2023) trained a NeRF of one capture and rendered
14,000 views near its poses. It compressed them by PCA and trained a CNN or an MLP to regress their
positions. Its test set was a random subset of these views.

Here one held-out segment of the capture is excluded from the training of field and networks. Its
first images stop the trainings. The networks are evaluated on the other ones, in meters and
degrees. A random split of as many real
images is reported beside it, always under the name leaking.
"""

from collections.abc import Callable
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import clear_if_stale
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.jobs.job_states import JobStates
from nerf_reversal_ros.study.data import StudyData
from nerf_reversal_ros.study.estimate import training_estimate, views_estimate
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.study.row_jobs import StudyInputs, train_row, train_rows_on_ray


def run_study(
    bag: Path,
    work_dir: Path,
    config: BuildConfig,
    plan: StudyPlan,
    *,
    device: str = 'auto',
    ray: str | None = None,
    changed: Callable[[JobStates], None] = lambda _: None,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """
    Train a field and all networks of a plan, and evaluate them.

    Parameters
    ----------
    bag : Path
        Color, depth and poses of one capture.
    work_dir : Path
        Folder of the field, the views and the finished experiments. A stopped study resumes from
        it.
    config : BuildConfig
        Settings of the capture, the field and the views; number and size of the views are the
        plan's.
    plan : StudyPlan
        Experiments and epochs.
    device : str
        Device of the training, as in `resolve_device`.
    ray : str, optional
        Ray cluster that trains the networks, see `run_on_ray`; None: one after the other here.
    changed : callable
        Called when a job on the cluster goes on.
    progress : callable
        Receives the progress and, before the training, the estimated durations.

    Returns
    -------
    dict
        Plain JSON: ``rows`` as `train_experiment` returns them, each with ``trivial`` and, where
        there is an image codec, ``compression_quality``; and what they have in common.

    Raises
    ------
    NerfReversalError
        If the bag or a setting is invalid, the folder cannot be written, there is no such cluster
        or it could not train a network.
    """
    torch_device = resolve_device(device)
    inputs = StudyInputs(bag.absolute(), work_dir.absolute(), config, plan, str(torch_device))
    data = inputs.open(progress)
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        _clear_if_stale(work_dir, data.capture, config, torch_device)
        rows = _run_experiments(inputs, data, ray, changed)
        field = data.field_metrics()
    except OSError as error:
        raise BuildError(f'cannot write to {work_dir}: {error.strerror or error}') from error
    return {
        'bag': data.capture.source.name,
        'package_version': __version__,
        'device': str(torch_device),
        'seed': config.seed,
        'plan': plan.to_dict(),
        'field': field,
        'frames': data.split.counts(),
        'rows': rows,
    }


def _run_experiments(
    inputs: StudyInputs, data: StudyData, ray: str | None, changed: Callable[[JobStates], None]
) -> list[dict[str, Any]]:
    """Run the experiments without a result file, and return the results of all."""
    paths = {experiment: _result_path(experiment, data) for experiment in data.plan.experiments()}
    missing = [experiment for experiment, path in paths.items() if not path.exists()]
    if missing:
        count = len(missing)
        data.progress(Progress('networks', 0, count, training_estimate(data, missing)))
        data.progress(Progress('views', 0, count, views_estimate(data, missing)))
    ordered = sorted(missing, key=data.pixel_count)  # a stopped study has more rows
    if ray is not None:
        files = {experiment: paths[experiment] for experiment in ordered}
        train_rows_on_ray(inputs, data, files, ray, changed)
    else:
        for experiment in ordered:
            train_row(experiment, data, paths[experiment])
    return [json.loads(path.read_text(encoding='utf-8')) for path in paths.values()]


def _result_path(experiment: Experiment, data: StudyData) -> Path:
    """Return the file of a finished experiment, named by all that its result depends on."""
    name = experiment.name.replace(', ', '_').replace(' ', '-')
    camera = data.camera(experiment)
    size, rendered = f'{camera.width}x{camera.height}', data.plan.max_views(experiment)
    length = f'{data.plan.epochs}-epochs_patience-{data.plan.patience}'
    precision = '_bfloat16' if data.plan.bfloat16 else ''
    file_name = f'{name}_of-{rendered}_{size}_{length}{precision}.json'
    return data.work_dir / 'rows' / file_name


def _clear_if_stale(
    work_dir: Path, capture: Capture, config: BuildConfig, device: torch.device
) -> None:
    """Remove field, rows and views of another capture, other settings or another version."""
    request = {
        'poses': capture.map_from_camera.tolist(),
        'stamps_ns': capture.stamps_ns.tolist(),
        'config': asdict(config),
        'device': device.type,
        'version': __version__,
    }
    results = ('rows', 'field', 'field.json', 'field.safetensors', 'views_*')
    clear_if_stale(work_dir, request, results)
