"""Linear operators of Cartesian MRI on PyTorch tensors (axes and FFT convention: ``untrained_recon.types``)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from untrained_recon.encoding import Encoding
from untrained_recon.sampled import ellipse
from untrained_recon.types import ComplexArray, FloatArray

AXES = (-2, -1)


def fft2(img: Tensor) -> Tensor:
    """Centred orthonormal 2-D Fourier transform over the last two axes, image to k-space."""
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(img, dim=AXES), norm="ortho"), dim=AXES)


def ifft2(ksp: Tensor) -> Tensor:
    """Inverse of :func:`fft2`, k-space to image."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(ksp, dim=AXES), norm="ortho"), dim=AXES)


def rss(coil_imgs: Tensor) -> Tensor:
    """Root sum of squares over the coil axis (paper, eq. 1).

    Args:
        coil_imgs: complex ``(n_coils, n_y, n_x)``.

    Returns:
        Real ``(n_y, n_x)``.
    """
    return torch.linalg.vector_norm(coil_imgs, dim=0)


def resize(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cut or zero-pad the last two axes to ``shape`` about their centres ``n // 2``."""
    for axis, size in zip(AXES, shape, strict=True):
        n = x.shape[axis]
        if size <= n:
            x = x.narrow(axis, n // 2 - size // 2, size)
        else:
            before = size // 2 - n // 2
            pad = (before, size - n - before) if axis == -1 else (0, 0, before, size - n - before)
            x = torch.nn.functional.pad(x, pad)
    return x


def to_recon_matrix(imgs: Tensor, encoding: Encoding) -> Tensor:
    """Cut images ``(…, *image_shape)`` to the reconstructed field of view and interpolate to the recon matrix.

    Interpolation is by zero filling (or cutting) in k-space and keeps the values of the pixels, but for ``encoding.gain``. The
    corners of k-space are empty where ``encoding.shutter`` says so.
    """
    if encoding.shutter:
        n_y, n_x = imgs.shape[-2:]
        imgs = ifft2(fft2(imgs) * torch.from_numpy(ellipse(n_y, n_x)).to(imgs.device))
    imgs = resize(imgs, encoding.crop_shape)
    if encoding.gain != 1:
        imgs = encoding.gain * imgs
    if encoding.crop_shape == encoding.recon_shape:
        return imgs
    pixels = math.prod(encoding.recon_shape) / math.prod(encoding.crop_shape)
    return ifft2(resize(fft2(imgs), encoding.recon_shape)) * math.sqrt(pixels)


def rss_image(ksp: ComplexArray, encoding: Encoding) -> FloatArray:
    """The root sum of squares of the coil images of k-space as it is: the truth where it is complete, else the zero-filled image.

    Args:
        ksp: complex64 ``(n_coils, n_y, n_x)``.
        encoding: Gives the field of view and the matrix of the image.

    Returns:
        float32 ``encoding.recon_shape``.
    """
    img: FloatArray = rss(to_recon_matrix(ifft2(torch.from_numpy(ksp)), encoding)).numpy()
    return img


def shift_phases(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The shifts of the centred transform as factors of modulus 1, by the shift theorem: ``fft2(img)`` is
    ``after * torch.fft.fft2(before * img, norm="ortho")``. Two factors that are made once cost less than shifts every time.

    Args:
        shape: Matrix ``(n_y, n_x)``; for even sizes the factors are checkerboards of 1 and -1.
        dtype: Complex type of the factors.
        device: Where they are to be.

    Returns:
        ``before`` and ``after``, both of ``shape``.
    """
    turns, centre = torch.zeros(shape, dtype=torch.float64), 0.0
    for n, column in zip(shape, ((-1, 1), (1, -1)), strict=True):
        c = n // 2
        turns = turns + (c * torch.arange(n, dtype=torch.float64) % n / n).reshape(column)
        centre += c * c % n / n
    before, after = (torch.polar(torch.ones_like(turns), 2 * math.pi * angle) for angle in (turns, turns - centre))
    return before.to(device, dtype), after.to(device, dtype)


class LinearOperator(ABC):
    """A linear map with known shapes; the public calls check them, ``_apply`` and ``_adjoint`` compute.

    Attributes:
        ishape: Shape of the input of the forward map.
        oshape: Shape of its output.
    """

    def __init__(self, ishape: Sequence[int], oshape: Sequence[int]) -> None:
        self.ishape = tuple(ishape)
        self.oshape = tuple(oshape)

    def __call__(self, x: Tensor) -> Tensor:
        """Forward map. Raises ValueError when ``x`` is not of ``ishape``."""
        return self._apply(self._checked(x, self.ishape))

    def adjoint(self, y: Tensor) -> Tensor:
        """Adjoint map. Raises ValueError when ``y`` is not of ``oshape``."""
        return self._adjoint(self._checked(y, self.oshape))

    def _checked(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        if tuple(x.shape) != shape:
            raise ValueError(f"{type(self).__name__} takes shape {shape}, got {tuple(x.shape)}")
        return x

    @abstractmethod
    def _apply(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...


class CoilFourier(LinearOperator):
    """``M F``: coil images to sampled k-space, each coil on its own (paper, eq. 3).

    Args:
        mask: bool ``(n_y, n_x)``, True where sampled; or real, each sample's weight.
        n_coils: Number of coils.
    """

    def __init__(self, mask: Tensor, n_coils: int) -> None:
        shape = (n_coils, *mask.shape)
        super().__init__(shape, shape)
        self.mask = mask
        self._before, after = shift_phases(mask.shape, torch.promote_types(mask.dtype, torch.complex64), mask.device)
        self._samples = after * mask

    def coil_images(self, x: Tensor) -> Tensor:
        """The coil images themselves: ``x``."""
        return x

    def combine(self, coil_imgs: Tensor) -> Tensor:
        """Adjoint of :meth:`coil_images`."""
        return coil_imgs

    def _apply(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(self._before * x, norm="ortho") * self._samples

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._before.conj() * torch.fft.ifft2(y * self._samples.conj(), norm="ortho")


class Sense(LinearOperator):
    """``M F S``: image to sampled multi-coil k-space through sensitivity maps (paper, eq. 4).

    Args:
        mps: complex ``(n_coils, n_y, n_x)``; or several sets of maps ``(n_sets, n_coils, n_y, n_x)``, with an image for each,
            whose coil images add up.
        mask: bool ``(n_y, n_x)``, True where sampled; or real, each sample's weight.
    """

    def __init__(self, mps: Tensor, mask: Tensor) -> None:
        super().__init__((*mps.shape[:-3], *mps.shape[-2:]), tuple(mps.shape[-3:]))
        self.mps = mps
        self.mask = mask
        before, after = shift_phases(mask.shape, torch.promote_types(mps.dtype, mask.dtype), mask.device)
        self._mps = before * mps
        self._samples = after * mask

    def coil_images(self, x: Tensor) -> Tensor:
        """``S x``: complex ``(n_coils, n_y, n_x)``."""
        return _through(self.mps, x)

    def combine(self, coil_imgs: Tensor) -> Tensor:
        """Adjoint of :meth:`coil_images`: ``S^H`` of coil images ``(n_coils, n_y, n_x)``."""
        return (self.mps.conj() * coil_imgs).sum(dim=-3)

    def _apply(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(_through(self._mps, x), norm="ortho") * self._samples

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self._mps.conj() * torch.fft.ifft2(y * self._samples.conj(), norm="ortho")).sum(dim=-3)


def _through(mps: Tensor, x: Tensor) -> Tensor:
    imgs = mps * x.unsqueeze(-3)
    return imgs.sum(dim=0) if imgs.ndim == 4 else imgs


def data_consistency(coil_imgs: Tensor, ksp: Tensor, mask: Tensor) -> Tensor:
    """Step 2 of the paper: put the measured samples back, coil by coil.

    Args:
        coil_imgs: complex ``(n_coils, n_y, n_x)``, what the network made of each coil.
        ksp: complex ``(n_coils, n_y, n_x)``, the measurement.
        mask: bool ``(n_y, n_x)``, True where measured.

    Returns:
        Coil images whose k-space equals ``ksp`` on the mask.
    """
    return ifft2(torch.where(mask, ksp, fft2(coil_imgs)))
