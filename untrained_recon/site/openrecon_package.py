"""What a scanner with Open Recon installs: the archive of a container image and its documentation in one file of the right name.

The file is ``OpenRecon_VENDOR_ID_VVERSION.zip``; in it are a ``.tar`` (of ``docker save``) and a ``.pdf`` of the same name, and the
image's tag is the same name in small letters. Vendor, id and version are those of the label that the image carries.
"""

import base64
import io
import json
import logging
import tarfile
import textwrap
import zipfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from untrained_recon.errors import PackageError
from untrained_recon.output import require_replaceable, written
from untrained_recon.site.openrecon import LABEL, SETTINGS, BooleanParameter, ChoiceParameter, IntParameter, Label

logger = logging.getLogger(__name__)

MANIFEST, LEGACY, OCI = "manifest.json", "repositories", "oci-layout"  # in an archive of `docker save`
LINES, COLUMNS = 58, 92  # of a page
A4_INCHES = (8.27, 11.69)
DOES = """Undersampled Cartesian raw data are reconstructed by a network that is fitted to the samples of each image alone; nothing
was trained. Images come back with geometry and provenance. An image that is doubtful says CAUTION in its comment, one that the
network did not make says FALLBACK and why. Where no image can be made, the scan ends in an error.""".replace("\n", " ")
DOES_NOT = """EPI, multi-band, multi-shot diffusion and non-Cartesian scans are refused. At high acceleration fine detail is
smoothed away and what is left looks plausible.""".replace("\n", " ")


def make_package(archive: Path, folder: Path, force: bool = False) -> Path:
    """Write the package of an image.

    Args:
        archive: What ``docker save`` or ``buildah push … docker-archive:`` wrote.
        folder: Where the package goes.
        force: Replace what is there, even if it is no package.

    Returns:
        The package.

    Raises:
        PackageError: The archive is no image's, or its image carries no label of ours.
        RawFileError: It cannot be written.
    """
    label = label_of(archive)
    name = f"{_base(label)}_V{label.general.version}"
    target = folder / f"{name}.zip"
    if not force:
        require_replaceable(target, lambda path: _members(path) == [f"{name}.tar", f"{name}.pdf"])
    with written(target, {"the image's archive": archive}) as part:
        pdf = part.with_name("documentation.part")
        _write_pdf(documentation(label), pdf)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
            with package.open(f"{name}.tar", "w", force_zip64=True) as entry, tarfile.open(fileobj=entry, mode="w|") as renamed:
                _copy(archive, renamed, tag_of(label))
            package.write(pdf, f"{name}.pdf")
        pdf.unlink()
    return target


def label_of(archive: Path) -> Label:
    """The label in an image's archive. Raises PackageError."""
    try:
        with tarfile.open(archive) as tar:
            (image,) = json.loads(_member(tar, MANIFEST))
            settings = json.loads(_member(tar, image["Config"]))
        text = settings["config"]["Labels"][LABEL]
        return Label.model_validate_json(base64.b64decode(text, validate=True))
    except KeyError as error:
        raise PackageError(f"{archive}: {error} is missing; it must be the image of docker/openrecon, with its label") from error
    except ValidationError as error:
        raise PackageError(f"{archive}: its label is not of this version; build docker/openrecon again ({error})") from error
    except (OSError, tarfile.TarError, ValueError, TypeError) as error:
        raise PackageError(f"{archive}: is no archive of one image as `docker save` makes it ({error})") from error


def tag_of(label: Label) -> str:
    """The image's tag, by the same parts as the package's name."""
    return f"{_base(label)}:V{label.general.version}".lower()


def documentation(label: Label) -> str:
    """What an operator should know, as plain text."""
    general, needs = label.general, label.reconstruction
    gpu = f"It uses a GPU of {needs.min_required_gpu_memory} MB where there is one." if needs.can_use_gpu else "No GPU is used."
    sections = {
        f"{general.name.en} {general.version}": [general.information.en, general.regulatory_information.safety_advices],
        "What it does": [DOES],
        "What the operator may set": [_described(parameter) for parameter in label.parameters],
        "What it needs": [
            f"{needs.min_required_memory} MB of memory, {needs.min_count_required_cpu_cores} CPU cores, port {needs.port}. {gpu}"
        ],
        "What it does not do": [DOES_NOT],
    }
    return "\n\n".join("\n".join([title, *lines]) for title, lines in sections.items())


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as package:
            return package.namelist()
    except (OSError, zipfile.BadZipFile):
        return []


def _base(label: Label) -> str:
    return f"OpenRecon_{label.general.vendor}_{label.general.id}"


def _copy(archive: Path, renamed: tarfile.TarFile, tag: str) -> None:
    """An image's archive again, with another tag."""
    with tarfile.open(archive) as tar:
        for entry in tar:
            if entry.name == MANIFEST:
                (image,) = json.loads(_member(tar, MANIFEST))
                content = json.dumps([{**image, "RepoTags": [tag]}]).encode()
                entry.size = len(content)
                renamed.addfile(entry, io.BytesIO(content))
            elif entry.name != LEGACY:  # it has the old tag, and nobody needs it
                if entry.name == OCI:
                    logger.warning("%s: an OCI layout, as of Docker from 25 on; scanners of VA60 may refuse it", archive)
                renamed.addfile(entry, tar.extractfile(entry) if entry.isfile() else None)


def _described(parameter: ChoiceParameter | IntParameter | BooleanParameter) -> str:
    text = f"{parameter.label.en} ({SETTINGS[parameter.id]}): {parameter.information.en}. Default {parameter.default}"
    if isinstance(parameter, ChoiceParameter):
        text += f", of {', '.join(value.id for value in parameter.values)}"
    if isinstance(parameter, IntParameter):
        text += f", from {parameter.minimum} to {parameter.maximum}"
    return f"{text}."


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    found: Any = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    content: bytes = found.read()
    return content


def _write_pdf(text: str, path: Path) -> None:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, COLUMNS) or [""]]
    with PdfPages(path) as pdf:
        for first in range(0, len(lines), LINES):
            page = Figure(figsize=A4_INCHES)
            page.text(
                0.08, 0.95, "\n".join(lines[first : first + LINES]), va="top", family="monospace", fontsize=8, linespacing=1.4
            )
            pdf.savefig(page)
