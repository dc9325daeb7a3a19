"""
From a bag to a map, one call a stage; a killed build goes on where it stopped.

Stages: capture, field, synthesis, atlas, regressor, calibration. Each but the first and the last,
which are quick, leaves its result in the map's staging folder and is marked there, so that a later
run with the same bag and settings skips it.
"""

from dataclasses import asdict
from datetime import datetime, timezone
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.capture import open_capture
from nerf_reversal_ros.capture.mapping_data import MappingData
from nerf_reversal_ros.core.config import BuildConfig, RegressorConfig
from nerf_reversal_ros.core.devices import free_memory, resolve_device
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields import FIELD_KINDS, NERFSTUDIO_RUN_PREFIX
from nerf_reversal_ros.fields.nerfstudio.config import parse_run_config
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.mapping.build_stages import (
    atlas_stage,
    BuildContext,
    calibration_stage,
    field_stage,
    regressor_stage,
    synthesis_stage,
)
from nerf_reversal_ros.mapping.build_warnings import (
    atlas_warnings,
    calibration_warnings,
    field_warnings,
)
from nerf_reversal_ros.mapping.nerfstudio_import import (
    load_run_and_positions,
    mapping_data_from_run,
)
from nerf_reversal_ros.mapping.sim3_alignment import read_known_positions
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.regressor.image_codec_training import check_component_count


def build_map(
    bag: Path | None,
    map_dir: Path,
    config: BuildConfig,
    *,
    device: str = 'auto',
    field: str = 'voxel',
    positions: Path | None = None,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> Map:
    """
    Build the map of one walk, or of a run of nerfstudio.

    Parameters
    ----------
    bag : Path or None
        rosbag2 with colour, depth and poses. A run of nerfstudio needs none: with one, of the same
        room, lengths and frame of the map are those of the bag, and its pictures adjust
        landmarks, teach the regressor and calibrate.
    map_dir : Path
        Folder to be written; what is unfinished lies in ``<map_dir>.partial`` until then.
    config : BuildConfig
        All settings.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    field : str
        Which kind of radiance field, one of `FIELD_KINDS`, or ``nerfstudio:`` and the config.yml of a
        run that somebody else trained.
    positions : Path, optional
        With a run, instead of a bag: known positions of its cameras, see
        `alignment.read_known_positions`.
    progress : callable
        Told where the build is.
    overwrite : bool
        Replace an existing map once the new one is complete.

    Raises
    ------
    ConfigError, CaptureError, BuildError
        When a setting, the bag, or the result is not fit; the message says what to do.
    """
    config_yml = (
        Path(field.removeprefix(NERFSTUDIO_RUN_PREFIX))
        if field.startswith(NERFSTUDIO_RUN_PREFIX)
        else None
    )
    if config_yml is None and field not in FIELD_KINDS:
        raise ConfigError(
            f'field must be one of {", ".join(FIELD_KINDS)}, {NERFSTUDIO_RUN_PREFIX}CONFIG.yml, got {field!r}'
        )
    where = resolve_device(device)
    if field != 'voxel':
        require_nerfstudio()
    _check_sources(bag, config_yml, positions, field, config)
    run, known = load_run_and_positions(config_yml, positions, where, progress)
    files = _run_files(config_yml)
    sources = [Path(source) for source in (bag, *files, positions) if source is not None]
    cameras = None if run is None else run.sha256
    fingerprint = _fingerprint(sources, config, field, where, cameras)
    # Of a run the folders <experiment>/<method>/<time>, for the last one may be named as any.
    source = sources[0].name if bag is not None else '/'.join(sources[0].absolute().parts[-4:-1])
    with MapWriter(map_dir, fingerprint, overwrite=overwrite) as writer:
        if writer.note:
            progress(Progress('capture', 0, 1, writer.note))
        with writer.time_stage('capture'):
            if run is None:
                assert bag is not None
                walk, itself = _mapping_data_from_bag(bag, config, progress), None
            else:
                walk, itself = mapping_data_from_run(
                    run,
                    bag,
                    known,
                    config,
                    device=where,
                    work_dir=writer.work_dir / 'run',
                    progress=progress,
                )
            _report_warnings(walk.warnings, 'capture', progress)
            _validate_early(walk, config)
        build = BuildContext(writer, walk, config, where, progress)
        with writer.time_stage('field'):
            kind = field if run is None else 'voxel'
            room, field_report = field_stage(build, kind, itself)
        del run, itself  # later stages need all the memory that there is
        free_memory()
        weak = field_warnings(field_report, config, field)
        _report_warnings(weak, 'field', progress)
        with writer.time_stage('synthesis'):
            views = synthesis_stage(build, room)
        with writer.time_stage('atlas'):
            atlas, surface = atlas_stage(build, room, views)
        sparse = atlas_warnings(atlas)
        _report_warnings(sparse, 'atlas', progress)
        with writer.time_stage('regressor'):
            regressor = regressor_stage(build, room, views)
        with writer.time_stage('calibration'):
            calibration, metrics = calibration_stage(build, atlas, surface, regressor)
        blind = calibration_warnings(walk, metrics)
        _report_warnings(blind, 'calibration', progress)
        np.savez_compressed(writer.path('walked_poses.npz'), map_from_camera=walk.mapping_poses)
        training = {
            'field': {key: field_report[key] for key in ('step', 'loss')},
            'synthesis': {'kept': len(views), 'rejected': views.rejection_counts},
            **_regressor_curves(regressor.report, config.regressor),
        }
        writer.path('training.json').write_text(json.dumps(training), encoding='utf-8')
        # That of a run is of its renders, not of a bag's depth.
        corrected = 'depth_correction' if config_yml is None else 'render_depth_correction'
        measured = {k: v for k, v in field_report.items() if not isinstance(v, (list, dict))}
        return writer.finish(
            {
                'built': {
                    'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
                    'seed': config.seed,
                    'package_version': __version__,
                    'device': str(where),
                    'field': field,
                    'seconds': {s: round(took, 2) for s, took in writer.seconds.items()},
                    'config': asdict(config),
                },
                'camera': regressor.camera.as_dict(),
                'capture_camera': walk.camera.as_dict(),
                'convention': walk.convention.as_dict(),
                corrected: field_report['depth_correction'],
                'capture': {'source': source, 'counts': walk.training_capture.counts},
                'calibration': calibration.as_dict(),
                'warnings': walk.warnings + weak + sparse + blind,
                'metrics': {
                    **walk.metrics,
                    **measured,
                    'synthetic_views': len(views),
                    'landmarks': len(atlas),
                    'surface_points': len(surface),
                    **metrics,
                },
            }
        )


def _check_sources(
    bag: Path | None,
    run: Path | None,
    positions: Path | None,
    field: str,
    config: BuildConfig,
) -> None:
    """Refuse what is no bag, no run, or goes not together, before anything is written."""
    if run is None and bag is None:
        raise ConfigError(f'a field of kind {field} is built from a bag: give one')
    if config.nerfstudio.max_std_m > 0 and (run is not None or field == 'voxel'):
        raise ConfigError(
            'nerfstudio.max_std_m is of the uncertainty of nerfacto and depth-nerfacto, and the'
            f' field is {field}: leave it at 0'
        )
    if run is None and positions is not None:
        raise ConfigError(
            f'known positions are of cameras of a run of nerfstudio, and the field is {field}:'
            f' leave them out, or give --field {NERFSTUDIO_RUN_PREFIX}CONFIG.yml'
        )
    if bag is not None and positions is not None:
        raise ConfigError('a bag and known positions both tell the lengths of a map: give one')
    if run is not None:
        parse_run_config(run)
    if positions is not None:
        read_known_positions(positions)
    if bag is not None:
        with BagReader(Path(bag)):
            pass


def _run_files(run: Path | None) -> list[Path]:
    """Return the files of a run of nerfstudio that decide what it shows."""
    if run is None:
        return []
    beside = run.parent / 'dataparser_transforms.json'
    return [run, *sorted(run.parent.rglob('step-*.ckpt')), *([beside] * beside.exists())]


def _fingerprint(
    sources: list[Path],
    config: BuildConfig,
    field: str,
    device: torch.device,
    cameras: str | None,
) -> dict[str, Any]:
    files = [
        file
        for source in sources
        for file in (sorted(source.rglob('*')) if source.is_dir() else [source])
        if file.is_file()
    ]
    return {
        'bag': [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files],
        'config': asdict(config),
        'field': field,
        'device': device.type,
        'cameras': cameras,
        'version': __version__,
    }


def _mapping_data_from_bag(
    bag: Path, config: BuildConfig, progress: ProgressCallback
) -> MappingData:
    """Return the walk of a bag, which a field is fitted to and everything else learns from."""
    capture = open_capture(bag, config.capture, progress=progress)
    share = config.field.validation_share
    return MappingData(capture, capture, capture.camera, capture.convention, share)


def _validate_early(walk: MappingData, config: BuildConfig) -> None:
    """Find out now what the regressor's stage would be refused for."""
    views = config.synthesis.views + int(np.sum(~walk.held_out))
    camera = walk.camera.downscaled_to(config.synthesis.width)
    values = 3 * camera.width * camera.height
    check_component_count(config.regressor.components, views, values)


def _report_warnings(warnings: list[str], stage: str, progress: ProgressCallback) -> None:
    for warning in warnings:
        progress(Progress(stage, 1, 1, warning))


def _regressor_curves(report: dict[str, Any], config: RegressorConfig) -> dict[str, Any]:
    """Return the regressor's report under the names that the report draws curves from."""
    history: list[dict[str, float]] = report['history']
    return {
        'regressor': {
            'epoch': list(range(1, len(history) + 1)),
            'train_loss': [epoch['loss'] for epoch in history],
            'val_translation_m': [epoch['validation_translation_m'] for epoch in history],
            'val_rotation_deg': [epoch['validation_rotation_deg'] for epoch in history],
            'mean_pose': report['mean_pose'],
        },
        'vae' if config.compression == 'vae' else 'pca': {
            'retained_variance': report['retained_variance']
        },
    }
