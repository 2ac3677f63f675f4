"""What must be known to read the tables."""

from untrained_recon.bench.quality.contenders import BEST, FACTORS, HIGHEST, NETWORK, OURS, OURS_BEST
from untrained_recon.bench.quality.oracles import FLOOR
from untrained_recon.bench.quality.pace import PEAK
from untrained_recon.study.summary import INTERVALS
from untrained_recon.study.trace import COST, INTERVAL_S

NOTES = (
    "Foreground first: the background of a whole image is the truth's own noise, which no method can know. Foreground: above a "
    "tenth of the truth's 99th percentile, and the holes within.",
    "All methods see the same samples, prewhitened by the noise covariance of the corners of fully sampled k-space "
    "(|k_y| and |k_x| above 0.42 cycles/pixel, noise of standard deviation 1 in real and imaginary part).",
    f"cg-sense, l1-wavelet, tv and the same of BART: λ chosen for every image and mask by the best PSNR against the truth, anew "
    f"for the foreground, the whole image and the {FLOOR}, from {FACTORS[0]:g} to {FACTORS[-1]:g} times the default λ in steps of "
    "two (of four with --quick). This oracle flatters them: no scanner has the truth. Their seconds are those of the λ of the "
    "foreground alone; grid_seconds those of the search. at_edge: the best λ ended the grid.",
    f"{BEST}: for every image and mask the method of these with the best PSNR, an oracle again, anew for each of the three. "
    f"{HIGHEST}: for every score by itself the highest of these methods.",
    f"{FLOOR}: scored as ours after sqrt(img² + floor), for every method alike. The floor is "
    "the expected noise energy of the lines that were not sampled, 2 n_coils times their share: in the background the truth is the "
    "root sum of squares of the noise of all lines, which no method can know.",
    "paper: preset brain-4x, at most its 3000 iterations, fewer where the time budget ends them.",
    "deepinv-settings: deepinv's defaults for ConvDecoder and DeepImagePrior (7 layers and one more at full resolution, 256 "
    "channels, input 4×4 from N(0, 1), Adam 0.01, 2500 iterations) in our plain loop; not deepinv itself. Ours scales the data "
    "and puts the samples back, which deepinv does not, and has no biases; the time budget holds for it too.",
    f"{OURS}: preset fast; {OURS_BEST}: preset best; {NETWORK}: preset fast without refinement. Each is one configuration, chosen "
    "without the truth; the time budget does not touch them.",
    "folded: the same scan with a smaller field of view along y, what lies outside folded over; its truth is the folded image.",
    "chosen, kept aside: groups of files by a hash of their name. Constants are chosen on the first, never on the second.",
    "Seconds to quality: until the image that would have been delivered reached the PSNR of the foreground (ours) at which the "
    "other method ends. The clock starts with the reconstruction, so start and maps count; it stands still while images are "
    f"scored, every {INTERVAL_S:g} s at most and for {COST:.0%} of a time budget at most. The others' seconds are those of their "
    f"whole run with the chosen λ alone; {PEAK}: the best that was scored on their way, and the seconds to it. Medians over images "
    "and masks.",
    "Targets: PSNR and SSIM against the highest of any oracle on each image and mask; 1 dB above it up to 4-fold acceleration, no "
    "lower beyond; no lower SSIM.",
    f"Means and 95 % intervals ({INTERVALS}) are over images, after the mean over each one's masks and seeds; of a single image, "
    "over its masks and seeds. The seed of a mask is the methods' too. Differences are those on the same mask. Images of one "
    "volume count as if they were independent.",
)
