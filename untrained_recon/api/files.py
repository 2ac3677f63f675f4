"""The public functions that read raw files, see the package. What they need is loaded when they are called."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrained_recon.encoding import ImageIndex
from untrained_recon.types import KSpace, Reconstruction

if TYPE_CHECKING:
    import torch

    from untrained_recon.config import Config, ScanConfig
    from untrained_recon.recon.fit.watch import Callback


def reconstruct_file(
    path: str | Path,
    output: str | Path | None = None,
    *,
    mask: str | Path | None = None,
    config: "str | Path | Config" = "fast",
    device: "str | torch.device | None" = None,
    follow: "Callback | None" = None,
    seed: int | None = None,
    **settings: Any,
) -> dict[ImageIndex, Reconstruction]:
    """Reconstruct every image of an ISMRMRD raw file, as ``untrained-recon replay`` does, in this process.

    Args:
        path: The raw file, or one of another format, see :func:`read_raw`.
        output: ISMRMRD image file to write as well; it appears when every image is in it.
        mask: See :func:`read_raw`.
        config: See :func:`untrained_recon.reconstruct`; so are the others.
        device: Where to compute.
        follow: Told of the progress.
        seed: Of the network.
        **settings: Changes.

    Returns:
        The images by their counters, in the order of the scan.

    Raises:
        ReconError: Subclasses say what is wrong with the file, the scan or the settings.
    """
    from untrained_recon.config.callers import given, load_config
    from untrained_recon.files.images import image_file
    from untrained_recon.output import require_place
    from untrained_recon.recon.fit.watch import Watch
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.recon.volume import reconstruct_images
    from untrained_recon.scan.header import parse_header
    from untrained_recon.scan.images import to_images
    from untrained_recon.scan.series import possible_series

    chosen = load_config(config, **given(device, seed), **settings)
    where = pick_device(chosen.device)
    inputs = {"the raw data": Path(path), "the mask": None if mask is None else Path(mask)}
    if output is not None:
        require_place(Path(output), inputs)
    xml, scan = _read(path, mask, chosen.scan)
    images = reconstruct_images(scan, chosen, where, Watch.of(chosen.scan.time_budget_s or None, follow))
    recons = {data.index: image for data, image in zip(scan, images, strict=True)}
    if output is not None:
        with image_file(Path(output), xml, inputs) as out:
            for data in scan:
                for image in to_images(possible_series(chosen), recons[data.index], data, parse_header(xml), chosen):
                    out.append_image(image.image_series_index - 1, image)
    return recons


def read_raw(path: str | Path, *, mask: str | Path | None = None, **scan: Any) -> list[KSpace]:
    """Read ISMRMRD raw data: the k-space of each image, prewhitened where the file has a noise scan.

    Args:
        path: The file; or one of another format that ``untrained-recon replay`` takes (fastMRI, ``.npy``, ``.cfl``).
        mask: File with the lines acquired, of arrays and fastMRI files; by default what lies beside them.
        **scan: Settings of the section ``scan``, for instance ``average=False``, or ``flush="close"`` for scans that ended early.

    Returns:
        The images in the order of the scan.

    Raises:
        ReconError: Subclasses say what is wrong with the file or the scan.
    """
    from untrained_recon.config.callers import load_config

    return _read(path, mask, load_config(scan=scan).scan)[1]


def _read(path: str | Path, mask: str | Path | None, settings: "ScanConfig") -> tuple[bytes, list[KSpace]]:
    """The XML header of a file, and its images."""
    from untrained_recon.files.convert import as_raw
    from untrained_recon.files.raw import RawFile
    from untrained_recon.scan.assemble import assemble
    from untrained_recon.scan.header import parse_header
    from untrained_recon.scan.soundness import sound

    with as_raw(Path(path), None if mask is None else Path(mask)) as place, RawFile(place) as raw:
        acquisitions = ([acq] for acq in raw.acquisitions())
        return raw.header, list(sound(assemble(acquisitions, parse_header(raw.header), settings)))
