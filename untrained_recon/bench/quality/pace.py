"""Seconds until a network's image is as good as the image at which each other method ends."""

import math
from collections.abc import Mapping, Sequence

import pandas

from untrained_recon.bench.quality.oracles import CHOSEN
from untrained_recon.study.summary import IMAGE, without_seed
from untrained_recon.study.trace import Point, seconds_to

Traces = Mapping[tuple[str, int, str, str], Sequence[Point]]
"""Quality against time by volume, item, sampling and method."""

PEAK = "best iterate"


def catch_up(images: pandas.DataFrame, traces: Traces) -> pandas.DataFrame:
    """Every traced method against every other on the same image with the same mask.

    Args:
        images: See :func:`untrained_recon.bench.quality.oracles.judge`.
        traces: Of some of its rows.

    Returns:
        Columns ``volume, item, sampling, method, peer``; ``psnr`` (of the foreground) and ``peer_seconds``, at which the peer
        ends, with the chosen λ alone; ``seconds`` until the method reached that PSNR, infinite where it never did. A traced peer
        has a second row, named with :data:`PEAK`, for the best point of its trace and the seconds to it.
    """
    found = []
    for image, group in images.groupby(IMAGE, sort=False):
        peers = list(zip(group["method"], group["method"], group[CHOSEN], group["seconds"], strict=True))
        traced = {method: traces[key] for method in group["method"] if (key := (*image, method)) in traces}
        for method, points in traced.items():
            peak = max(points, key=lambda point: point.foreground)
            peers.append((method, f"{method}, {PEAK}", peak.foreground, peak.seconds))
        found += [
            (*image, method, name, psnr, seconds, seconds_to(points, psnr))
            for method, points in traced.items()
            for peer, name, psnr, seconds in peers
            if peer != method
        ]
    return pandas.DataFrame(found, columns=[*IMAGE, "method", "peer", "psnr", "peer_seconds", "seconds"])


def medians(times: pandas.DataFrame) -> pandas.DataFrame:
    """Medians of :func:`catch_up` over images and seeds of the mask; infinite where half of the images or more never got there.

    Returns:
        Columns ``sampling, method, peer, seconds, peer_seconds, images, reached``.
    """
    pooled = times.assign(sampling=without_seed(times["sampling"]), reached=times["seconds"] < math.inf)
    groups = pooled.groupby(["sampling", "method", "peer"], sort=False)
    return groups.agg(
        seconds=("seconds", "median"), peer_seconds=("peer_seconds", "median"), images=("psnr", "size"), reached=("reached", "sum")
    ).reset_index()
