"""
Synthetic views: renderings of a field as training data, image augmentation and corruption.

`view_synthesis` renders the views. Poses are sampled in `fields.pose_sampling`; networks are
trained in `regressor`.
"""
