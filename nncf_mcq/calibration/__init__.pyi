from nncf_mcq.calibration.images import collect_images

__all__ = ["collect_images"]
