"""
The pose regressor: image codec (PCA or VAE), pose network, and the training of both.

The localizer imports `regressor` alone; the modules ``*training`` are for the builder.
"""
