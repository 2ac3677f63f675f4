"""The integration test's results as JUnit XML, which continuous integration servers read."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from untrained_recon.site.acceptance import Result
from untrained_recon.text.printable import legible

SUITE = "untrained-recon integration test"
DECLARATION = "<?xml version='1.0' encoding='utf-8'?>\n"


def junit(results: Iterable[Result], trouble: Exception | None = None) -> bytes:
    """JUnit XML; ``trouble`` is what kept the cases from being played."""
    suite = ElementTree.Element("testsuite", name=SUITE)
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for result in results:
        element = ElementTree.SubElement(
            suite, "testcase", classname="integration", name=result.case.name, time=f"{result.outcome.seconds:.3f}"
        )
        for finding in result.findings[:1]:  # the format holds one failure a case
            text = "\n".join(f"{f.kind}: {f.text}" for f in result.findings)
            ElementTree.SubElement(element, "failure", type=finding.kind, message=finding.text).text = text
        if result.skipped:
            ElementTree.SubElement(element, "skipped", message=result.skipped)
        counts["tests"] += 1
        counts["failures"] += bool(result.findings)
        counts["skipped"] += bool(result.skipped)
    if trouble is not None:
        element = ElementTree.SubElement(suite, "testcase", classname="integration", name="installation")
        ElementTree.SubElement(element, "error", type=type(trouble).__name__, message=str(trouble))
        counts["tests"] += 1
        counts["errors"] += 1
    suite.attrib.update({name: str(count) for name, count in counts.items()})
    ElementTree.indent(suite)
    return (DECLARATION + legible(ElementTree.tostring(suite, encoding="unicode"))).encode()


def is_junit(path: Path) -> bool:
    """Whether a file holds results of an integration test."""
    try:
        return ElementTree.parse(path).getroot().get("name") == SUITE
    except (OSError, ElementTree.ParseError):
        return False
