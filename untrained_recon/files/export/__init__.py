"""Image files in the formats of others: a table, one module for each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from untrained_recon.errors import ConfigError, RawFileError
from untrained_recon.extras import require_modules
from untrained_recon.output import NO_INPUTS, Inputs, make_folder, require_folder, require_place, written


@dataclass(frozen=True)
class Format:
    """A row of the table. The module of its name has ``products(scan)``, which lists the files to write.

    Attributes:
        about: For the help of the command line.
        endings: Of what it writes.
        ending: Of a single file; empty where it always takes a folder.
        needs: Modules that it imports, of ``extra``.
        extra: See ``pyproject.toml``.
    """

    about: str
    endings: tuple[str, ...]
    ending: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""


FORMATS = {
    "dicom": Format("DICOM: MR images; maps as parametric maps.", (".dcm",), needs=("pydicom", "highdicom"), extra="export"),
    "nifti": Format("NIfTI volumes with BIDS' JSON files.", (".nii.gz", ".json"), ".nii.gz", ("nibabel",), "export"),
    "npy": Format("NumPy arrays, a JSON file beside each.", (".npy", ".json"), ".npy"),
    "cfl": Format("BART's arrays.", (".cfl", ".hdr", ".json"), ".cfl"),
    "png": Format("Pictures: of volumes all planes, of maps with a scale.", (".png",), needs=("matplotlib",), extra="report"),
    "fastmri": Format("fastMRI's form of a submission: magnitudes in an HDF5 file.", (".h5",), ".h5"),
}


@dataclass(frozen=True)
class Product:
    """A file to be written.

    Attributes:
        name: Its name without ending, below the folder.
        save: Writes it, and what lies beside it, to the path that it is given.
        ending: Its ending.
        beside: Endings of what ``save`` leaves beside it.
        main: Whether it is part of what a single file would hold: the magnitude images.
    """

    name: str
    save: Callable[[Path], None]
    ending: str
    beside: tuple[str, ...] = ()
    main: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of its files."""
        return tuple(self.name + ending for ending in (self.ending, *self.beside))


def require_format(form: str) -> None:
    """Raise MissingExtraError where what a format needs is not installed."""
    require_modules(FORMATS[form].needs, FORMATS[form].extra, f"--{form}")


def require_target(form: str, target: Path, inputs: Inputs = NO_INPUTS, force: bool = False) -> None:
    """What can be told before the images are there. Raises RawFileError where ``target`` cannot, or must not, be written."""
    if _is_file(form, target):
        require_place(target, inputs)
        _refuse([target] if not force else [], target)
        return
    require_folder(target)
    if not force and target.is_dir():
        files = (found for found in target.rglob("*") if found.is_file())
        _refuse((file for file in files if not file.name.endswith(FORMATS[form].endings)), target)


def export(path: Path, target: Path, form: str, like: Path | None = None, group: str = "", force: bool = False) -> int:
    """Write the images of an image file in another format.

    Args:
        path: The image file.
        target: A folder, which is made; or a file with the format's ending, for the magnitude images if they fit into one.
        form: A key of :data:`FORMATS`.
        like: DICOM file that says what the patient, the study and the frame of reference are; for ``dicom``.
        group: Group of ``path`` that holds the images; by default ``dataset``, or the only one.
        force: Replace a file that is there; write to a folder in which there are other files.

    Returns:
        How many files were written, without those that lie beside another.

    Raises:
        MissingExtraError: What the format needs is not installed.
        ConfigError: The images do not fit into a single file; or ``like`` is for another format.
        RawFileError: A file cannot be read or written, or the images lack what the format needs.
    """
    from untrained_recon.files.export.series import read_scan

    require_format(form)
    if like is not None and form != "dicom":
        raise ConfigError(f"--like says whose DICOM images they are; --{form} takes nothing from it")
    inputs = {"the images": path, "what --like names": like}
    require_target(form, target, inputs, force)
    module = import_module(f"{__name__}.{form}")
    products = _distinct(module.products(read_scan(path, group, like)))
    if _is_file(form, target):
        folder, products = target.parent, [_single(products, target, form)]
        _refuse([target.with_name(name) for product in products for name in product.names if not force], target)
    else:
        folder = target
        ours = {folder / name for product in products for name in product.names}
        if not force and target.is_dir():
            _refuse((found for found in target.rglob("*") if not found.is_dir() and found not in ours), target)
    for product in products:
        file = folder / product.names[0]
        make_folder(file.parent)
        with written(file, inputs) as part:
            product.save(part)
    return len(products)


def _distinct(products: Iterable[Product]) -> list[Product]:
    """The products, those of a name that was there before with a number: a host may send images of the same counters."""
    found: dict[str, Product] = {}
    for product in products:
        name, n = product.name, 1
        while name in found:
            n += 1
            name = f"{product.name}_{n}"
        found[name] = replace(product, name=name)
    return list(found.values())


def _is_file(form: str, target: Path) -> bool:
    ending = FORMATS[form].ending
    return bool(ending) and target.name.endswith(ending) and not target.is_dir()


def _single(products: Iterable[Product], target: Path, form: str) -> Product:
    main = [product for product in products if product.main]
    if len(main) != 1:
        raise ConfigError(f"{target}: --{form} makes {len(main)} files of the magnitude images; name a folder")
    (product,) = main
    return replace(product, name=target.name.removesuffix(product.ending))


def _refuse(files: Iterable[Path], target: Path) -> None:
    """Raises RawFileError where one of the files exists."""
    for file in files:
        if file.exists() or file.is_symlink():
            what = "exists" if file == target else f"{file.name} is there, and not of this export"
            raise RawFileError(f"{target}: {what}; name another output, or say --force")
