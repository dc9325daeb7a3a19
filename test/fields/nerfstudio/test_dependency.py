"""Patches around the code of nerfstudio: pickles are disabled inside, and restored after."""

import pickle

import numpy as np
import pytest

from nerf_reversal_ros.fields.nerfstudio.dependency import pickle_disabled


def test_pickles_are_disabled_in_the_block_and_restored_after_an_error(tmp_path):
    data = pickle.dumps({'a': 1})
    np.save(tmp_path / 'objects.npy', np.array([{}]), allow_pickle=True)
    functions = np.load, pickle.load, pickle.loads
    with pytest.raises(ValueError, match='contain a pickle, which could run code'):
        with pickle_disabled():
            with pytest.raises(ValueError, match='allow_pickle=False'):
                np.load(tmp_path / 'objects.npy', allow_pickle=True)
            pickle.loads(data)
    assert functions == (np.load, pickle.load, pickle.loads)
    assert pickle.loads(data) == {'a': 1}
