import pytest

from untrained_recon.cautions import SENTENCES, Caution, distinct


def test_only_listed_codes_are_cautions() -> None:
    with pytest.raises(ValueError, match="looks odd"):
        Caution("looks odd")


def test_a_caution_reads_as_its_sentence_and_the_number_behind_it() -> None:
    assert str(Caution("model-misfit", "chi2 5.4")) == SENTENCES["model-misfit"] + " (chi2 5.4)"
    assert str(Caution("zero-lines")) == SENTENCES["zero-lines"]


def test_an_image_names_each_caution_of_its_parts_once() -> None:
    first, second, other = Caution("model-misfit", "chi2 3"), Caution("model-misfit", "chi2 9"), Caution("zero-lines")
    assert distinct([first, second, other, first]) == (first, other)
