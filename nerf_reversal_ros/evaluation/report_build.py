"""Write the section of the report about the build of the map: facts and training curves."""

import json
from typing import Any

from nerf_reversal_ros.evaluation import report_plots as plots
from nerf_reversal_ros.evaluation.html_page import html_facts, html_figure
from nerf_reversal_ros.evaluation.summary import format_number
from nerf_reversal_ros.maps.map_folder import Map


def build_section(map_: Map) -> str:
    """List facts of the manifest, and draw the curves of ``training.json``."""
    training: dict[str, Any] = {}
    if 'training.json' in map_.manifest['files']:
        training = json.loads(map_.file('training.json').read_text(encoding='utf-8'))
    facts = _facts(map_)
    if 'vae' in training:
        retained = training['vae']['retained_variance'][-1]
        facts['variance retained by the autoencoder'] = retained
    present = {name: value for name, value in facts.items() if value not in (None, '')}
    parts = [html_facts({name: _format_fact(value) for name, value in present.items()})]
    if curves := plots.training_curves(training.get('field', {}), training.get('regressor', {})):
        parts.append(html_figure(curves, 'Training of the field and of the regressor.'))
    if retained := training.get('pca', {}).get('retained_variance', []):
        plot = plots.retained_variance(retained)
        parts.append(html_figure(plot, 'Variance of the images retained by the PCA.'))
    return ''.join(parts)


def _facts(map_: Map) -> dict[str, Any]:
    """Return what the manifest says about the build, by the names that the report prints."""
    manifest = map_.manifest
    built, metrics = manifest.get('built', {}), manifest.get('metrics', {})
    size_bytes = sum(entry['bytes'] for entry in manifest['files'].values())
    return {
        'built': built.get('date'),
        'field': built.get('field'),
        'capture': manifest.get('capture', {}).get('source'),
        'device': built.get('device'),
        'seed': built.get('seed'),
        'size': f'{size_bytes / 1e6:.1f} MB in {len(manifest["files"])} files',
        **{f'time of {name}': f'{s:.0f} s' for name, s in built.get('seconds', {}).items()},
        **{name.replace('_', ' '): value for name, value in metrics.items()},
    }


def _format_fact(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(
            f'{name.replace("_", " ")} {_format_fact(v)}' for name, v in value.items()
        )
    return format_number(value) if isinstance(value, float) else str(value)
