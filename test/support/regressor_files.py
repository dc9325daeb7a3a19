"""Files of regressors, changed."""

import json

import safetensors
import safetensors.torch


def rewrite_regressor(source, target, tensors=None, header=None):
    """
    Write the file of a regressor with other tensors, and other keys of its header.

    None leaves a tensor or key out. A function makes a tensor from that of the file.
    """
    with safetensors.safe_open(source, framework='pt') as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
        keys = json.loads(file.metadata()['regressor'])
    for name, value in (tensors or {}).items():
        found[name] = value(found[name]).contiguous() if callable(value) else value
    metadata = {'regressor': json.dumps(_without_none(keys | (header or {})))}
    safetensors.torch.save_file(_without_none(found), target, metadata=metadata)


def _without_none(values):
    return {name: value for name, value in values.items() if value is not None}
