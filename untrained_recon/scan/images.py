"""Reconstructions as ISMRMRD images, ready for a Gadgetron chain or an image file."""

from collections import Counter
from collections.abc import Iterable, Iterator

import ismrmrd
import numpy as np

from untrained_recon import __version__
from untrained_recon.config import Config
from untrained_recon.encoding import Encoding, Header, ImageIndex
from untrained_recon.scan.series import SERIES, Pixels, counters_of, series_index
from untrained_recon.scan.stockmeta import stock_attributes
from untrained_recon.text.printable import printable
from untrained_recon.types import KSpace, Reconstruction

WINDOW = ("GADGETRON_WindowCenter", "GADGETRON_WindowWidth")


def doubts(images: Iterable[ismrmrd.Image]) -> str:
    """How many of the images are fallbacks or carry cautions, for one line; empty where none does."""
    found: Counter[str] = Counter()
    for meta in (image.meta for image in images):
        codes = meta.get("untrained_recon_cautions", [])
        found.update([codes] if isinstance(codes, str) else codes)
        found.update(["FALLBACK"] if "untrained_recon_fallback_reason" in meta else [])
    return "; ".join(f"{n} with {name if name == 'FALLBACK' else f'CAUTION {name}'}" for name, n in found.most_common())


def to_images(kinds: Iterable[str], recon: Reconstruction, data: KSpace, header: Header, config: Config) -> Iterator[ismrmrd.Image]:
    """The kinds of image that the reconstruction has, each as :func:`to_image` makes it."""
    for kind in kinds:
        if SERIES[kind].pixels(recon) is not None:
            yield to_image(kind, recon, data, header, config)


def to_image(kind: str, recon: Reconstruction, data: KSpace, header: Header, config: Config) -> ismrmrd.Image:
    """One ISMRMRD image with geometry, indices, window and provenance.

    Geometry and time stamps are those of the readout nearest to the centre of k-space, the field of view is ``reconSpace``'s.

    Args:
        kind: A key of :data:`~untrained_recon.scan.series.SERIES`.
        recon: The reconstruction.
        data: What it was made from.
        header: Protocol name.
        config: For the provenance in the meta attributes.

    Raises:
        ValueError: The reconstruction has no image of this kind.
    """
    series = SERIES[kind]
    pixels = series.pixels(recon)
    if pixels is None:
        raise ValueError(f"{data.index}: there is no {kind} image")
    fov_z, fov_y, fov_x = data.encoding.recon_fov
    image = ismrmrd.Image.from_array(
        pixels,
        acquisition=ismrmrd.Acquisition(data.reference),
        transpose=False,
        image_type=series.image_type,
        image_index=image_number(data.index, data.encoding),
        image_series_index=series_index(kind, data.index.encoding),
        field_of_view=(fov_x, fov_y, fov_z),
    )
    meta = {
        **stock_attributes(image.getHead(), data.times, header),
        **_display(kind, pixels, recon, header),
        **_sampling(data),
        **_provenance(recon, data, config),
    }
    image.meta = {name: _clean(value) for name, value in meta.items()}
    return image


def for_array(image: ismrmrd.Image) -> ismrmrd.Image:
    """A complex image as part of an image array: type and series are those that Gadgetron's reconstructions give.

    It states no window: a gadget downstream multiplies the pixels, and nothing there adapts the window to that.
    """
    image.image_type = ismrmrd.IMTYPE_MAGNITUDE  # what ComplexToFloat makes of it
    image.image_series_index = 1 + counters_of(image).encoding
    image.meta = {name: value for name, value in image.meta.items() if name not in WINDOW}
    return image


def _clean(value: str | list[str]) -> str | list[str]:
    """A value that is XML: names and reasons come from outside."""
    return printable(value) if isinstance(value, str) else [printable(part) for part in value]


def image_number(index: ImageIndex, encoding: Encoding) -> int:
    """``image_index``: mixed radix over average, repetition, set, phase, contrast, slice and partition, from 1, within 16 bits.

    A volume has the number of its first partition.
    """
    number = 0
    for name in ("average", "repetition", "set", "phase", "contrast", "slice"):
        number = number * max(1, getattr(encoding.counts, name)) + getattr(index, name)
    return number * encoding.partitions % 65535 + 1


def _display(kind: str, pixels: Pixels, recon: Reconstruction, header: Header) -> dict[str, str | list[str]]:
    row = SERIES[kind]
    low, high = (float(v) for v in np.percentile(np.abs(pixels), (1, 99.5)))
    window = dict(zip(WINDOW, (f"{(low + high) / 2:.6g}", f"{high - low:.6g}"), strict=True)) if row.limits is None else {}
    if recon.account.method in ("maps", "coils", "separate", "direct", "empty"):
        comment, series = f"un-trained reconstruction ({recon.account.method})", "UNTRAINED"
    else:
        comment, series = f"reconstruction by {recon.account.method}, not the un-trained network", recon.account.method.upper()
    if recon.account.fallback_reason:
        comment = f"CONVENTIONAL FALLBACK {recon.account.method}, not the un-trained network: {recon.account.fallback_reason}"
        series = f"FALLBACK_{recon.account.method.upper()}"
    comment = "; ".join([comment, *(f"CAUTION {caution.code}: {caution}" for caution in recon.cautions)])
    history = [series, recon.account.method.upper()]
    if row.comment:
        comment, series, history = f"{row.comment}; {comment}", f"{series}_{kind.upper()}", [*history, kind.upper()]
    return {
        "GADGETRON_DataRole": row.role,
        "GADGETRON_ImageComment": f"{header.protocol_name} {comment}".strip(),
        "GADGETRON_SeqDescription": f"_{series}",
        "GADGETRON_ImageProcessingHistory": history,
        **window,
        "GADGETRON_ScaleRatio": "1",
    }


def _sampling(data: KSpace) -> dict[str, str | list[str]]:
    """What Gadgetron's post-processing gadgets read: the image is complete.

    It covers the reconstructed field of view at the recon matrix and no frequency is missing from it, so that partial Fourier,
    filter and field of view gadgets leave it as it is.
    """
    fov = [f"{size:g}" for size in reversed(data.encoding.recon_fov)]
    recon_y, recon_x = data.encoding.recon_shape
    recon_z = data.encoding.recon_partitions
    matrix = [str(recon_x), str(recon_y), str(recon_z)]
    limits = {axis: ["0", str(n // 2), str(n - 1)] for axis, n in (("RO", recon_x), ("E1", recon_y), ("E2", recon_z))}
    return {
        "encoding": str(data.index.encoding),
        "encoding_FOV": fov,
        "recon_FOV": fov,
        "encoded_matrix": matrix,
        "recon_matrix": matrix,
        **{f"sampling_limits_{axis}": values for axis, values in limits.items()},
    }


def _provenance(recon: Reconstruction, data: KSpace, config: Config) -> dict[str, str | list[str]]:
    attributes: dict[str, str | list[str]] = {
        "untrained_recon_version": __version__,
        "untrained_recon_config": config.name,
        "untrained_recon_config_hash": config.hash,
        "untrained_recon_settings": config.changes(),
        "untrained_recon_seed": str(config.seed),
        "untrained_recon_method": recon.account.method,
        "untrained_recon_fallback_reason": recon.account.fallback_reason,
        "untrained_recon_iterations": str(recon.account.iterations),
        "untrained_recon_stop_reason": recon.account.stop_reason,
        "untrained_recon_final_loss": f"{recon.account.loss:.6g}",
        "untrained_recon_refinements": str(recon.account.refinements),
        "untrained_recon_refinement_stop": recon.account.refinement_stop,
        "untrained_recon_held_out_chi2": f"{recon.account.held_out_chi2:.6g}",
        "untrained_recon_chi2": f"{recon.account.chi2:.6g}",
        "untrained_recon_map_sets": str(recon.account.map_sets),
        **{
            f"untrained_recon_{name}_map": evidence.note if evidence.pixels is not None else f"missing: {evidence.note}"
            for name, evidence in recon.evidence.items()
        },
        "untrained_recon_seconds": f"{recon.account.seconds:.2f}",
        "untrained_recon_device": recon.account.device,
        "untrained_recon_acceleration": f"{data.acceleration:.3f}",
        "untrained_recon_noise_scan": "applied" if data.prewhitened else "none seen",  # a gadget before ours may have whitened
        "untrained_recon_cautions": [caution.code for caution in recon.cautions],
    }
    return {name: value for name, value in attributes.items() if value}  # an empty value would be read back as "None"
