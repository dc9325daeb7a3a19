"""
Pose regression: the image codec (PCA or VAE), the pose network, and the training of both.

`cpu_regressor` holds the inference that robots need, without PyTorch, and `regressor` that of all
kinds, with PyTorch; `regressed_pose` is the result of both. `localization` imports none of the
modules ``*training``, which serve `mapping` and `study`. Training views come from `synthesis`,
pose refinement follows in `localization`.
"""
