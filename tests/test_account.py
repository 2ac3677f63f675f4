import math

from untrained_recon.account import Account


def test_counts_add_up_and_what_is_not_known_does_not_count() -> None:
    parts = [
        Account("maps", "", 80, "iterations", loss=0.2, refinements=45, chi2=1.0, map_sets=1, seconds=2, device="cpu"),
        Account("maps", "", 70, "time budget", loss=0.4, refinements=45, chi2=3.0, map_sets=2, seconds=1, device="cpu"),
        Account("maps", device="cpu"),  # a plane without signal
        Account("maps", iterations=80, stop_reason="iterations", loss=math.nan, device="cpu"),
    ]
    whole = Account.merged(parts)
    assert (whole.method, whole.iterations, whole.refinements, whole.seconds, whole.map_sets) == ("maps", 230, 90, 3, 2)
    assert (whole.loss, whole.chi2) == ((0.2 + 0.4) / 2, 2.0)
    assert math.isnan(whole.held_out_chi2)
    assert (whole.stop_reason, whole.refinement_stop, whole.fallback_reason, whole.device) == ("iterations", "", "", "cpu")


def test_no_fallback_stays_unsaid() -> None:
    parts = [Account("maps"), Account("maps"), Account("cg-sense", "FitError: diverged")]
    whole = Account.merged(parts, "planes")
    assert (whole.method, whole.fallback_reason) == ("cg-sense", "1 of 3 planes: FitError: diverged")


def test_one_part_is_the_whole() -> None:
    one = Account(
        "coils", iterations=3, stop_reason="callback", loss=0.5, held_out_chi2=2.0, chi2=1.5, seconds=1.0, device="cuda:0"
    )
    assert Account.merged([one]) == one
