import dataclasses

from untrained_recon.encoding import Encoding


def test_images_of_a_grid_are_cut_to_the_middle_and_never_larger_than_it() -> None:
    encoding = Encoding.of((300, 640), (320, 320), (4.0, 1.5, 0.5))
    assert (encoding.image_shape, encoding.crop_shape, encoding.recon_shape) == ((300, 640), (300, 320), (300, 320))
    assert (encoding.encoded_fov, encoding.recon_fov) == ((4.0, 450.0, 320.0), (4.0, 450.0, 160.0))
    assert encoding.gridded() is encoding
    whole = Encoding.of((31, 17))
    assert whole.image_shape == whole.crop_shape == whole.recon_shape == (31, 17)


def test_a_readout_on_the_grid_has_lost_its_oversampling_and_phase_encoding_has_not() -> None:
    oversampled = dataclasses.replace(Encoding.of((300, 640), (200, 320)), on_grid=False)
    assert (oversampled.image_shape, oversampled.crop_shape) == ((300, 320), (200, 320))
    gridded = oversampled.gridded()
    assert (gridded.encoded_shape, gridded.image_shape, gridded.crop_shape) == ((300, 320), (300, 320), (200, 320))
    assert gridded.encoded_fov == (1.0, 300.0, 320.0)
    assert gridded.gridded() == gridded
