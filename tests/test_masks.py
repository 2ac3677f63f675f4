import numpy as np
import pytest

from untrained_recon.errors import ConfigError
from untrained_recon.masks import Pattern, Sampling, acs_lines, block_lines, grid_lines, line_codes


@pytest.mark.parametrize(("n_y", "acs"), [(368, 29), (368, 30), (372, 26), (321, 13), (10, 10), (10, 0)])
def test_the_acs_block_is_where_fastmri_puts_it(n_y: int, acs: int) -> None:
    start = (n_y - acs + 1) // 2
    np.testing.assert_array_equal(np.flatnonzero(acs_lines(n_y, acs)), np.arange(start, start + acs))


@pytest.mark.parametrize(
    ("n_y", "amount", "lines"), [(368, 0.08, 29), (368, 0.04, 15), (372, 0.08, 30), (368, 24, 24), (368, 0, 0)]
)
def test_a_centre_fraction_is_rounded_to_lines(n_y: int, amount: float, lines: int) -> None:
    assert block_lines(n_y, amount) == lines
    assert block_lines(n_y, lines / n_y) == lines


@pytest.mark.parametrize(("accel", "acs"), [(4, 0.08), (8, 0.04)])
@pytest.mark.parametrize("pattern", ["random", "equispaced-fraction"])
def test_the_acceleration_includes_the_acs_block(pattern: Pattern, accel: int, acs: float) -> None:
    shares = [Sampling(pattern, accel, acs).lines(368, f"file{n}").mean() for n in range(300)]
    assert 1 / np.mean(shares) == pytest.approx(accel, rel=0.02)
    spread = np.std(shares) * 368
    assert spread < 2 if pattern == "equispaced-fraction" else 4 < spread < 9  # binomial: √(n p (1 - p))


def test_equispaced_lines_have_the_acs_block_on_top() -> None:
    lines = Sampling("equispaced", 4, 24).lines(368, "file")
    outside = np.flatnonzero(lines & ~acs_lines(368, 24))
    assert set(outside % 4) == {outside[0] % 4}
    assert lines.sum() == 368 // 4 + 24 - 24 // 4
    assert {int(np.flatnonzero(Sampling("equispaced", 4, 0).lines(368, f"{n}"))[0]) for n in range(40)} == {0, 1, 2, 3}


def test_the_steps_of_equispaced_fraction_differ_by_one_line_at_most() -> None:
    n_y, accel, acs = 368, 4, 29
    lines = np.flatnonzero(grid_lines(n_y, "equispaced-fraction", accel, acs, np.random.default_rng(0)))
    step = accel * (acs - n_y) / (acs * accel - n_y)  # the acceleration that fastMRI adjusts to
    assert set(np.diff(lines)) == {int(step), int(step) + 1}
    assert np.diff(lines).mean() == pytest.approx(step, rel=0.01)


@pytest.mark.parametrize("pattern", ["random", "equispaced", "equispaced-fraction"])
def test_without_acceleration_every_line_is_sampled(pattern: Pattern) -> None:
    assert Sampling(pattern, 1, 0.08).lines(64, "file").all()


def test_a_volume_has_one_mask_by_its_name_and_the_seed() -> None:
    masks = [Sampling("random", 4, 0.08, seed).lines(368, name) for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[3])


def test_the_authors_mask_keeps_the_central_320_of_368_lines() -> None:
    kept = Sampling("random", 4, 0.07, kept=320)
    masks = np.stack([kept.lines(368, f"file{n}") for n in range(300)])
    assert not masks[:, :24].any()
    assert not masks[:, 344:].any()
    assert masks[:, acs_lines(368, 26)].all()
    assert 4.4 < 1 / masks.mean() < 4.7  # the lines outside are lost: 4 becomes more
    full = Sampling("random", 4, 0.07).lines(368, "file0")
    np.testing.assert_array_equal(masks[0], full & acs_lines(368, 320))
    np.testing.assert_array_equal(Sampling("random", 4, 0.07, kept=320 / 368).lines(368, "file0"), masks[0])


def test_codes_tell_calibration_from_imaging() -> None:
    codes = line_codes(64, "equispaced", 4, 8, np.random.default_rng(0))
    grid = grid_lines(64, "equispaced", 4, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(codes, grid + 2 * acs_lines(64, 8))
    for pattern in ("random", "equispaced-fraction"):
        codes = line_codes(64, pattern, 4, 8, np.random.default_rng(0))
        assert set(codes[acs_lines(64, 8)]) == {3}
        assert set(codes) == {0, 1, 3}


def test_masks_that_cannot_be_are_refused() -> None:
    for sampling, message in (
        (Sampling("random", 4, 0.25), "use a smaller acceleration"),
        (Sampling("equispaced-fraction", 4, 30), "use a smaller acceleration"),
        (Sampling("random", 4, 100), "do not fit 64 lines"),
        (Sampling("random", 4, 8, kept=65), "65 lines cannot be kept of 64"),
        (Sampling("random", 4, 8, kept=0), "0 lines cannot be kept"),
    ):
        with pytest.raises(ConfigError, match=message):
            sampling.lines(64, "file")
