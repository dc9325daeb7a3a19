"""Image files and videos as cameras and phones write them."""

import cv2
import numpy as np
from PIL import ExifTags, Image


def write_photo(
    path, upright, orientation=1, focal_length_35mm=None, taken_size=None, camera=None, **details
):
    """
    Write a JPEG, stored in such a way that its EXIF orientation, 1 or 6, turns it upright.

    ``taken_size`` is the size (width, height) that EXIF states, ``camera`` make and model.
    ``details`` are further tags by name, such as ``FocalLength`` [mm].
    """
    exif = Image.Exif()
    exif[0x0112] = orientation
    if camera is not None:
        exif[0x010F], exif[0x0110] = camera
    tags = {getattr(ExifTags.Base, name): value for name, value in details.items()}
    details = exif.get_ifd(0x8769)
    details.update(tags)
    if focal_length_35mm is not None:
        details[0xA405] = focal_length_35mm
    if taken_size is not None:
        details[0xA002], details[0xA003] = taken_size
    stored = np.rot90(upright, {1: 0, 6: 1}[orientation])
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    return path


def write_video(path, images, fps=10):
    """Write images (H, W, 3) as Motion JPEG, which needs no other program."""
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), fps, (width, height))
    for image in images:
        video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    video.release()
    return path
