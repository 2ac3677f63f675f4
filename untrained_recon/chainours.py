"""Checks of the ``<external>`` nodes of a chain: does our gadget start, get its input and its settings, and is its answer taken?"""

import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from untrained_recon import chainparts as parts
from untrained_recon.chainparts import Element, Remark, known_classes, near, property_of
from untrained_recon.config import DEFAULT_PRESET, Config, load_config
from untrained_recon.errors import ConfigError, ReplayError

Listener = Callable[[str, int], str]

TARGET = "reconstruct"
PYTHON_S = 60.0


def check_external(stream: Element, ask: Listener) -> Iterator[Remark]:
    """Check the nodes of ``<stream>`` that start or connect to one of our gadgets.

    Args:
        stream: The element.
        ask: See :func:`untrained_recon.chaincheck.check_chain`.
    """
    ours = [node for node in stream.findall("external") if _may_be_ours(node)]
    if not ours and stream.find(".//external") is not None and not stream.findall("external"):
        yield Remark("the <external> is inside another node; its place among the gadgets is not checked", fault=False)
    elif not ours:
        yield Remark("no <external> of the stream starts or connects to one of our gadgets")
    for external in ours:
        nodes = list(stream)
        place = nodes.index(external)
        before, after = ([n.findtext("classname", "") for n in part] for part in (nodes[:place], nodes[place + 1 :]))
        comes = _comes_in(before)
        execute, connect = external.find("execute"), external.find("connect")
        if execute is not None:
            yield from _execute(execute, comes)
        elif connect is not None:
            yield from _connect(connect, ask)
        else:
            yield Remark("<external> holds neither <execute> nor <connect>")
        yield from _before(before, comes)
        config = yield from _settings(external)
        form = "arrays" if config.output.form == "arrays" or (config.output.form == "auto" and comes == "buffers") else "images"
        yield from _after(after, form, config)
        yield from _crossing(external, comes, form)


def _may_be_ours(external: Element) -> bool:
    execute = external.find("execute")
    module = "" if execute is None else execute.get("name", "")
    return execute is None or not module or near(module.partition(".")[0], ["gadgets", "gadgetron"]) == "gadgets"


def _comes_in(before: list[str]) -> str:
    """The kind of input behind these gadgets."""
    sorters = [name for name in before if name in (parts.TO_BUCKETS, parts.TO_BUFFERS)]
    return {parts.TO_BUCKETS: "buckets", parts.TO_BUFFERS: "buffers"}[sorters[-1]] if sorters else "acquisitions"


def _execute(execute: Element, comes: str) -> Iterator[Remark]:
    module, target, kind = (execute.get(name, "") for name in ("name", "target", "type"))
    known = [f"gadgets.{source}" for source in parts.TAKES]
    if module not in known:
        like = near(module, known)
        yield Remark(f"execute name={module!r} is none of {', '.join(known)}{f' (did you mean {like}?)' if like else ''}")
    elif module != f"gadgets.{comes}":
        yield Remark(
            f"{module} gets no input: what comes at its place are {comes}; take gadgets.{comes}, or other gadgets before it"
        )
    if target != TARGET:
        yield Remark(f"execute target={target!r} must be {TARGET!r}; a wrong one ends a scan without image and message")
    if kind.lower() != "python":
        yield Remark(f"execute type={kind!r} must be 'python'")
    yield _python()


def _python() -> Remark:
    """Which Python Gadgetron would start here."""
    for name in ("python", "python3"):
        if found := shutil.which(name):
            command = [found, "-c", "import gadgets, gadgetron"]
            done = subprocess.run(command, cwd=Path(found).anchor, capture_output=True, timeout=PYTHON_S, check=False)
            state = "has the package" if done.returncode == 0 else "does not have the package: no image would come"
            return Remark(f"Gadgetron would start {found} if it had this PATH; that {state}", fault=False)
    return Remark("no python is on this PATH; where Gadgetron runs there must be one that has the package", fault=False)


def _connect(connect: Element, ask: Listener) -> Iterator[Remark]:
    address, port = connect.get("address") or "localhost", connect.get("port", "")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        yield Remark(f"connect port={port!r} is no port")
        return
    try:
        ask(address, int(port))
    except ReplayError as error:
        yield Remark(f"no listener: {error}; start `untrained-recon serve` there, or change address and port")


def _before(before: list[str], comes: str) -> Iterator[Remark]:
    if comes == "acquisitions":
        return
    if "NoiseAdjustGadget" not in before:
        yield Remark("no NoiseAdjustGadget comes before our gadget: the coils are not whitened", fault=False)
    if comes == "buffers" and "AsymmetricEchoAdjustROGadget" not in before:
        yield Remark("without AsymmetricEchoAdjustROGadget, BucketToBufferGadget refuses asymmetric echoes", fault=False)
    if comes == "buffers" and parts.TO_BUCKETS not in before:
        yield Remark(f"{parts.TO_BUFFERS} needs {parts.TO_BUCKETS} before it")


def _settings(external: Element) -> Generator[Remark, None, Config]:
    """Remarks on the settings; returns the configuration, the default one where they are not sound."""
    for stray in [*external.findall("property"), *external.findall("execute/property"), *external.findall("connect/property")]:
        yield Remark(f"property {stray.get('name')!r} stands outside <configuration>, where it is not sent to the gadget")
    settings: dict[str, str] = {}
    for element in external.find("configuration") or ():
        name, value = property_of(element) if element.tag == "property" else (element.tag, (element.text or "").strip())
        if not name:
            yield Remark("a <property> of <configuration> has no name")
        elif name in settings:
            yield Remark(f"property {name!r} comes twice")
        elif "@" in (value or ""):
            yield Remark(f"property {name!r}: references ({value}) are not resolved inside an external's <configuration>")
        else:
            settings[name] = value or ""
    preset = settings.pop("config", "") or DEFAULT_PRESET
    if Path(preset).suffix in (".yaml", ".yml") and not Path(preset).exists():
        yield Remark(f"{preset} is not on this machine; it must be on the gadget's", fault=False)
        preset = DEFAULT_PRESET
    try:
        return load_config(preset, settings)
    except ConfigError as error:
        yield Remark(str(error))
        return Config()


def _after(after: list[str], form: str, config: Config) -> Iterator[Remark]:
    if form == "arrays":
        if parts.SPLIT not in after:
            yield Remark(f"our gadget answers with image arrays and no {parts.SPLIT} follows: they are dropped silently")
        if config.evidence.spread or config.evidence.replicas:
            yield Remark("maps of spread and noise leave as images only (output.form images), not in arrays", fault=False)
        return
    if idle := [name for name in after if name in parts.ARRAYS_ONLY]:
        yield Remark(f"{', '.join(idle)} take image arrays only: set output.form to arrays")
    if scaling := [name for name in after if name in ("AutoScaleGadget", "ScaleGadget")]:
        yield Remark(f"{scaling[0]} multiplies the pixels, but not the window that images state: set output.form to arrays")
    if "FloatToUShortGadget" in after and not scaling and not idle:
        yield Remark("FloatToUShortGadget cuts off at 4095 and rounds: scale before it (output.form arrays)")


def _crossing(external: Element, comes: str, form: str) -> Iterator[Remark]:
    """What ``<readers>`` and ``<writers>`` inside ``<external>`` let through."""
    for kind, needed, known in (("writer", parts.TAKES[comes], parts.WRITERS), ("reader", parts.ANSWERS[form], parts.READERS)):
        elements = external.findall(f"{kind}s/{kind}")
        yield from known_classes(elements, kind, known)
        if elements and needed not in [element.findtext("classname") for element in elements]:
            what = f"the {comes} pass it by" if kind == "writer" else f"its {form} are refused"
            yield Remark(f"<{kind}s> inside <external> lack {needed}: {what}")
