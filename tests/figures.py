"""Legibility of the texts in matplotlib figures."""

from __future__ import annotations

from itertools import combinations


def boxes(figure):
    """Return (text, bounding box in pixels) of all visible texts of a figure."""
    figure.draw_without_rendering()
    texts = []
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label]
        texts += ax.get_legend().get_texts() if ax.get_legend() else []
        for axis in filter(lambda axis: axis.get_visible(), (ax.xaxis, ax.yaxis)):
            low, high = sorted(axis.get_view_interval())
            for minor in (False, True):
                places = axis.get_ticklocs(minor=minor)
                labels = axis.get_ticklabels(minor=minor)
                texts += [
                    label
                    for place, label in zip(places, labels, strict=True)
                    if low <= place <= high
                ]
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def assert_texts_are_legible(figure):
    """Assert that no text is cut off or overlaps another."""
    found = boxes(figure)
    for (text, box), (other, its) in combinations(found, 2):
        apart = box.x1 <= its.x0 or its.x1 <= box.x0 or box.y1 <= its.y0 or its.y1 <= box.y0
        assert apart, f"{text!r} and {other!r}"
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in found:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} at {box}"
