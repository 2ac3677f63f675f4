"""The numbers of the paper's tables."""

Numbers = dict[str, tuple[float, ...]]
"""The paper's numbers of each method, in the order of the columns."""

KNEE_NETWORKS: Numbers = {
    "ConvDecoder": (0.6717, 0.9443, 0.7775, 31.81),
    "DIP": (0.6311, 0.8981, 0.5938, 28.40),
    "DD": (0.6359, 0.8599, 0.6991, 29.16),
}
KNEE_4X: Numbers = {
    "ConvDecoder": (0.6823, 0.9387, 0.7753, 31.67),
    "U-net": (0.5955, 0.9489, 0.7883, 32.04),
    "TV": (0.4412, 0.9262, 0.6977, 30.20),
}
KNEE_8X: Numbers = {
    "ConvDecoder": (0.5234, 0.8827, 0.6815, 28.49),
    "U-net": (0.5233, 0.9148, 0.7115, 29.25),
    "TV": (0.3119, 0.8340, 0.5986, 26.55),
}
BRAIN_NETWORKS: Numbers = {
    "ConvDecoder": (0.8002, 0.9743, 0.9018, 34.58),
    "DIP": (0.8223, 0.9736, 0.8918, 34.96),
    "DD": (0.7952, 0.9713, 0.9023, 34.52),
}
BRAIN_MAPS: Numbers = {
    "ConvDecoder": (0.8178, 0.9722, 0.8892, 33.06),
    "ConvDecoder-SM": (0.8707, 0.9804, 0.9054, 34.32),
    "U-net": (0.8714, 0.9792, 0.9173, 34.29),
    "TV": (0.5932, 0.9364, 0.6998, 29.52),
}
VOLUME_AND_IMAGE: Numbers = {  # volume SSIM, PSNR, image SSIM, PSNR
    "ConvDecoder": (0.8713, 35.61, 0.7868, 31.81),
    "U-net": (0.8753, 35.68, 0.7992, 32.14),
    "TV": (0.7214, 33.21, 0.6832, 30.12),
}
NORMALISED: Numbers = {  # SSIM, PSNR of every normalisation
    "ConvDecoder": (0.7563, 29.93, 0.7464, 30.09, 0.6957, 29.57, 0.7753, 31.67),
    "U-net": (0.7867, 32.01, 0.7354, 28.04, 0.7091, 29.37, 0.7883, 32.04),
    "TV": (0.6592, 27.21, 0.6875, 26.67, 0.6565, 28.43, 0.6977, 30.20),
}
