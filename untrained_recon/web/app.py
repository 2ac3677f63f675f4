"""The page itself: what is asked for, by path. Nothing here changes anything; all that is read are notes and states."""

import hashlib
import io
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from untrained_recon.serving.entries import ImageEntry, ScanEntry
from untrained_recon.serving.history import History
from untrained_recon.serving.pool import Place
from untrained_recon.text.printable import legible
from untrained_recon.web.guard import Guard
from untrained_recon.web.pictures import png
from untrained_recon.web.render import Renderer

SCANS_A_PAGE, IMAGES_A_PAGE = 50, 12
FRESH_S = 0.9  # all who look within this time see the same
MOST_PAGES = 64


class Answer(Protocol):
    """What a machine asks for: status, kind and text."""

    @property
    def code(self) -> int:
        """HTTP status."""

    @property
    def kind(self) -> str:
        """Media type."""

    @property
    def text(self) -> bytes:
        """Content."""


class Sight(NamedTuple):
    """What there is to see.

    Attributes:
        history: The scans.
        status: How the service is, see ``Service.status``.
        places: What the workers do.
        machines: Pages for machines, by their path.
        downloads: Whether images and records may be downloaded; the history then has to keep pixels.
    """

    history: History
    status: Callable[[], Mapping[str, Any]]
    places: Callable[[], Sequence[Place]]
    machines: Mapping[str, Callable[[], Answer]]
    downloads: bool = False


def make_app(sight: Sight, names: Collection[str] = ()) -> Starlette:
    """The application.

    Args:
        sight: What it shows.
        names: Names of this machine in browsers, beside ``localhost`` and addresses.
    """
    pages = _Pages(sight)
    routes = [
        Route("/", pages.scans),
        Route("/scans/{scan}", pages.scan),
        Route("/scans/{scan}/{number:int}/{kind}.png", pages.picture),
        *(Route(path, _for_machines(make)) for path, make in sight.machines.items()),
        Mount("/static", StaticFiles(packages=[("untrained_recon.web", "static")])),
    ]
    if sight.downloads:
        routes[1:1] = [
            Route("/scans/{scan}.json", pages.record),
            Route("/scans/{scan}/{number:int}/{kind}.npy", pages.pixels),
        ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, names=names)], exception_handlers={HTTPException: pages.missing})


def _for_machines(make: Callable[[], Answer]) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        found = make()
        return Response(found.text, found.code, media_type=found.kind)

    return answer


class _Pages:
    """Who answers; each method in a thread of the server's pool."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._renderer = Renderer(sight.downloads)
        self._fresh: dict[tuple[str, int], tuple[float, bytes, str]] = {}
        self._making = threading.Lock()

    def scans(self, request: Request) -> Response:
        number = _page_of(request)

        def make() -> str:
            scans = self._sight.history.scans()
            past = [scan for scan in scans if not scan.running]
            return self._renderer.scans(
                running=[scan for scan in scans if scan.running],
                past=_cut(past, number, SCANS_A_PAGE),
                pager=(number, len(past), SCANS_A_PAGE),
                status=self._sight.status(),
                places=self._sight.places(),
            )

        return self._page(request, number, make)

    def scan(self, request: Request) -> Response:
        number, scan = _page_of(request), self._scan(request)

        def make() -> str:
            images = list(enumerate(scan.images.values()))
            pager = (number, len(images), IMAGES_A_PAGE)
            return self._renderer.scan(scan=scan, images=_cut(images, number, IMAGES_A_PAGE), pager=pager)

        return self._page(request, number, make)

    def picture(self, request: Request) -> Response:
        image = self._image(self._scan(request), request)
        picture = image.pictures.get(request.path_params["kind"])
        if picture is None:
            raise HTTPException(404, "this picture is not kept any more")
        return Response(png(picture.pixels), media_type="image/png")

    def pixels(self, request: Request) -> Response:
        scan = self._scan(request)
        kind = request.path_params["kind"]
        pixels = self._image(scan, request).pixels.get(kind)
        if pixels is None:
            raise HTTPException(404, "this image is not kept any more")
        file = io.BytesIO()
        np.save(file, pixels)
        name = f"{scan.name}_{request.path_params['number']}_{kind}.npy"
        return Response(file.getvalue(), media_type="application/octet-stream", headers=_attached(name))

    def record(self, request: Request) -> Response:
        scan = self._scan(request)
        return JSONResponse(_plain(_record_of(scan)), headers=_attached(f"{scan.name}.json"))

    def missing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return Response(legible(self._renderer.missing(error.detail)), error.status_code, error.headers, "text/html")

    def _page(self, request: Request, number: int, make: Callable[[], str]) -> Response:
        """A page as it was at most ``FRESH_S`` ago; 304 for those who have it."""
        key = (request.url.path, number)
        with self._making:
            now = time.monotonic()
            if key not in self._fresh or now - self._fresh[key][0] > FRESH_S:
                content = legible(make()).encode()
                self._fresh.pop(key, None)
                self._fresh[key] = (now, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
                if len(self._fresh) > MOST_PAGES:
                    del self._fresh[next(iter(self._fresh))]
            _, content, tag = self._fresh[key]
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(content, media_type="text/html", headers={"ETag": tag})

    def _scan(self, request: Request) -> ScanEntry:
        scan = self._sight.history.scan(request.path_params["scan"])
        if scan is None:
            raise HTTPException(404, "this scan is not known: it is too long ago, or the service was started anew since")
        return scan

    def _image(self, scan: ScanEntry, request: Request) -> ImageEntry:
        images = list(scan.images.values())
        number: int = request.path_params["number"]
        if number >= len(images):
            raise HTTPException(404, "the scan has no such image")
        return images[number]


def _page_of(request: Request) -> int:
    """Number of the page that is asked for, from 1."""
    text = request.query_params.get("page", "1")
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 6 and int(text)):
        raise HTTPException(404, "there is no such page")
    return int(text)


def _cut(items: Sequence[Any], page: int, size: int) -> Sequence[Any]:
    if page > 1 and (page - 1) * size >= len(items):
        raise HTTPException(404, "there is no such page")
    return items[(page - 1) * size : page * size]


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _record_of(scan: ScanEntry) -> dict[str, Any]:
    """All that is known of a scan but its pictures."""
    images = [
        {
            "image": str(image.index),
            "state": image.state,
            "account": None if image.account is None else asdict(image.account),
            "cautions": dict(image.cautions),
            "evidence": dict(image.notes),
            "error": image.error,
            "curve": image.curve,
        }
        for image in scan.images.values()
    ]
    return {
        "scan": scan.name,
        "peer": scan.peer,
        "started": scan.started,
        "outcome": scan.outcome,
        "seconds": scan.seconds,
        "settings": None if scan.config is None else scan.config.model_dump(mode="json"),
        **({"person": dict(scan.person)} if scan.person else {}),
        "images": images,
    }


def _plain(value: Any) -> Any:
    """The same without numbers and text that JSON does not have."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
