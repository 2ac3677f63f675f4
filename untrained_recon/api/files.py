"""The public functions that read raw files, see the package. What they need is loaded when they are called."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrained_recon.encoding import ImageIndex
from untrained_recon.types import KSpace, Reconstruction

if TYPE_CHECKING:
    import torch

    from untrained_recon.config import Config
    from untrained_recon.recon.fit.watch import Callback


def reconstruct_file(
    path: str | Path,
    output: str | Path | None = None,
    *,
    config: "str | Path | Config" = "fast",
    device: "str | torch.device | None" = None,
    follow: "Callback | None" = None,
    seed: int | None = None,
    **settings: Any,
) -> dict[ImageIndex, Reconstruction]:
    """Reconstruct every image of an ISMRMRD raw file, as ``untrained-recon replay`` does, in this process.

    Args:
        path: The raw file.
        output: ISMRMRD image file to write as well; it appears when every image is in it.
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
    from untrained_recon.files.raw import RawFile
    from untrained_recon.output import require_place
    from untrained_recon.recon.fit.watch import Watch
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.recon.volume import reconstruct_image
    from untrained_recon.scan.header import parse_header
    from untrained_recon.scan.images import to_images
    from untrained_recon.scan.series import possible_series

    chosen = load_config(config, **given(device, seed), **settings)
    where = pick_device(chosen.device)
    if output is not None:
        require_place(Path(output), {"the raw data": Path(path)})
    scan = read_raw(path, **chosen.scan.model_dump())
    parts = Watch.of(chosen.scan.time_budget_s or None, follow).parts(len(scan))
    recons = {data.index: reconstruct_image(data, chosen, where, part) for data, part in zip(scan, parts, strict=True)}
    if output is not None:
        with RawFile(Path(path)) as raw, image_file(Path(output), raw.header, {"the raw data": Path(path)}) as out:
            header = parse_header(raw.header)
            for data in scan:
                for image in to_images(possible_series(chosen), recons[data.index], data, header, chosen):
                    out.append_image(image.image_series_index - 1, image)
    return recons


def read_raw(path: str | Path, **scan: Any) -> list[KSpace]:
    """Read an ISMRMRD raw file: the k-space of each of its images, prewhitened where the file has a noise scan.

    Args:
        path: The file.
        **scan: Settings of the section ``scan``, for instance ``average=False``, or ``flush="close"`` for scans that ended early.

    Returns:
        The images in the order of the scan.

    Raises:
        ReconError: Subclasses say what is wrong with the file or the scan.
    """
    from untrained_recon.config.callers import load_config
    from untrained_recon.files.raw import RawFile
    from untrained_recon.scan.assemble import assemble
    from untrained_recon.scan.header import parse_header
    from untrained_recon.scan.soundness import sound

    settings = load_config(scan=scan).scan
    with RawFile(Path(path)) as raw:
        return list(sound(assemble(([acq] for acq in raw.acquisitions()), parse_header(raw.header), settings)))
