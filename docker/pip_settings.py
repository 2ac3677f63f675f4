"""The machine's pip settings for the build of an image: a configuration of its own, and a mount for whatever that names.

Everything is mounted below one folder, so that it hides nothing of the image's own, and the configuration is rewritten to it.
Settings that change what is installed, or where, stay behind: the image is the same on every machine.
"""

import ast
import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

logger = logging.getLogger("docker-test")

MOUNTED = "/mnt/pip"
PLAIN = {
    *("default-timeout", "disable-pip-version-check", "no-binary", "no-index", "only-binary", "pre", "prefer-binary", "proxy"),
    *("retries", "timeout", "trusted-host"),
}
CERTIFICATES = {"cert", "client-cert"}  # one path each; all below take several, separated by white space
REQUIREMENTS = {"constraint", "build-constraint"}
LINKS = {"find-links"}
INDEXES = {"index-url", "pypi-url", "extra-index-url"}
CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what pip takes for `cert` where that is not set

# what a requirements file may say with a path in it
OPTION = re.compile(r"^(\s*(?P<option>-[cfir]|--[a-z-]+)(?:\s+|\s*=\s*))(?P<value>[^\s#]+)")
DIRECT = re.compile(r"(@\s*)(file:\S+)")
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
NESTED = {"-c": "constraint", "-r": "requirement", "-f": "find-links", "-i": "index-url"}

Settings = dict[str, dict[str, str]]
"""Values by section and key, as in a configuration file."""


@contextlib.contextmanager
def pip_mounts(listed: str, environment: Mapping[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """What to mount for a build, by its path on this machine.

    Args:
        listed: What ``pip config list`` says; the variables ``PIP_*`` are in it.
        environment: For the certificates that pip takes from elsewhere.
        folder: To which relative paths refer.
    """
    settings = effective(listed)
    bundle = next((environment[name] for name in CA_BUNDLES if environment.get(name)), "")
    if bundle and not any("cert" in values for values in settings.values()):
        settings.setdefault("global", {})["cert"] = bundle
    with tempfile.TemporaryDirectory() as copies:
        os.chmod(copies, 0o755)
        mounts = Mounts(Path(copies))
        configuration = Path(copies) / "pip.conf"
        configuration.write_text(mounts.configuration(settings, folder), encoding="utf-8")
        yield {**mounts.targets, str(configuration): "/etc/pip.conf"}


def effective(listed: str) -> Settings:
    """The settings that count: the environment overrides a key in every section, and an empty value is none."""
    found: Settings = {}
    own: dict[str, str] = {}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if equals and (text := str(ast.literal_eval(value)).strip()):
            (own if section == ":env:" else found.setdefault(section, {}))[key] = text
    for values in found.values():
        for key in own:
            values.pop(key, None)
    found["global"] = {**found.get("global", {}), **own}
    return found


class Mounts:
    """Mounts in the making.

    Args:
        copies: Folder for rewritten requirements files.

    Attributes:
        targets: Where each path of this machine is in the image.
    """

    def __init__(self, copies: Path) -> None:
        self.targets: dict[str, str] = {}
        self._copies = copies
        self._mounted: dict[Path, str] = {}

    def configuration(self, settings: Settings, folder: Path) -> str:
        """A configuration file with the paths of the image."""
        lines = []
        for section, values in settings.items():
            lines.append(f"[{section}]")
            for key, value in values.items():
                words = value.splitlines() if key in PLAIN | CERTIFICATES else value.split()
                if key not in PLAIN:
                    words = [moved for word in words if (moved := self.moved(key, word, folder))]
                if words:
                    lines.append(f"{key} = " + "\n    ".join(words))
        return "\n".join(lines) + "\n"

    def moved(self, key: str, text: str, folder: Path) -> str:
        """One word of a setting as the image must see it; empty where the image is better off without it."""
        if key not in CERTIFICATES | REQUIREMENTS | LINKS | INDEXES:
            logger.info("left out of the build: pip's setting %s", key)
            return ""
        path = local_path(text, folder)
        if path is None:
            return text
        if not path.exists():
            logger.warning("left out of the build: %s, which pip's setting %s names, does not exist", path, key)
            return ""
        if key in REQUIREMENTS:
            return self._copy(path)
        if key in INDEXES:
            return self._mount(path, _levels_up(path)).as_uri()
        place = self._mount(path, levels_up=int(path.suffix in (".html", ".htm")))  # a page refers to files beside it
        return place.as_uri() if "%" in text else str(place)

    def _mount(self, path: Path, levels_up: int = 0) -> Path:
        """Where the path is in the image; so many of the folders around it are there with it."""
        path = path.resolve()
        top = path.parents[levels_up - 1] if levels_up else path
        if top not in self._mounted:
            source = top
            if ":" in str(top):  # cannot be said on the command line
                source = self._copies / f"{len(self.targets)}"
                source.symlink_to(top)
            self._mounted[top] = self.targets[str(source)] = f"{MOUNTED}/{len(self.targets)}/{top.name.replace(':', '_')}"
        return Path(self._mounted[top], path.relative_to(top))

    def _copy(self, path: Path) -> str:
        """A requirements file with the paths of the image, and the files that it refers to with theirs."""
        path = path.resolve()
        if path not in self._mounted:
            copy = self._copies / f"{len(self.targets)}.txt"
            self._mounted[path] = self.targets[str(copy)] = f"{MOUNTED}/{copy.name}"  # now, as it may refer to itself
            text = VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), path.read_text(encoding="utf-8"))
            lines = text.splitlines()
            copy.write_text("".join(f"{self._line(line, path.parent)}\n" for line in lines), encoding="utf-8")
        return self._mounted[path]

    def _line(self, line: str, folder: Path) -> str:
        option = OPTION.match(line)
        if option is None:
            return DIRECT.sub(lambda found: found[1] + self._reference(found[2]), line)
        key = NESTED.get(option["option"], option["option"].removeprefix("--"))
        if key == "requirement":  # within constraints it is a file of constraints too
            key = "constraint"
        if key not in REQUIREMENTS | LINKS | INDEXES:
            return line
        word = self.moved(key, option["value"], folder)
        return option[1] + word + line[option.end() :] if word else ""

    def _reference(self, url: str) -> str:
        path = local_path(url, Path())
        return url if path is None or not path.exists() else self._mount(path).as_uri()


def local_path(text: str, folder: Path) -> Path | None:
    """The path that a word of a setting means; None for an address elsewhere."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", text)
    if scheme is None:
        return folder / Path(text).expanduser()
    return Path(url2pathname(urlsplit(text).path)) if scheme[1].lower() == "file" else None


def _levels_up(index: Path) -> int:
    """How many folders above an index its pages refer to, as the first of them shows."""
    page = next(iter(sorted(index.glob("*/index.html"))), None)
    steps: Iterable[str] = re.findall(r"""href=["']((?:\.\./)+)""", page.read_text(encoding="utf-8")) if page else ()
    return min(max((len(up) // 3 - 1 for up in steps), default=0), max(len(index.resolve().parents) - 1, 0))
