"""
Pose regression: the image codec (PCA or VAE), the pose network, and the training of both.

`regressor` holds all of inference; `localization` imports it alone. The modules ``*training``
serve `mapping` and `study`. Training views come from `synthesis`, pose refinement follows in
`localization`.
"""
