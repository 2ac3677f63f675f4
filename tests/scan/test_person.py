"""Whose scan it is."""

from untrained_recon.scan.person import person_of


def test_what_the_header_says_is_one_line_each_and_no_more_than_that() -> None:
    header = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><subjectInformation><patientName>A\u202eB
C</patientName><patientGender>O</patientGender></subjectInformation></ismrmrdHeader>""".encode()
    person = person_of(header)
    assert person == {"patient": "A\\u202eB\\nC", "sex": "O"}
    assert person_of(b"<ismrmrdHeader/>") == {}
