"""The panel *Explore*: sliders that cluster the embedding again while they move."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, PushButton

from pixel_embedded_affinity.viewer.desk import NOTHING_YET, Desk, desk_of
from pixel_embedded_affinity.viewer.parts import message, slider
from pixel_embedded_affinity.viewer.workbench import Choice, directions_of, ranges_of, spread_ranges

DIRECTIONS = {2: (4, 8), 3: (6, 18, 26)}
_LONGEST, _MOST, _WIDEST, _LARGEST = 64, 8, 20, 1000


class ExplorePanel(Container):
    """Sliders for the ranges, directions and strides of affinities, the foreground, and the sizes of objects.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._desk = desk_of(napari_viewer)
        self._quiet = False
        self._shown: Any = None
        self.own = CheckBox(text="the model's own ranges", value=True)
        self.longest = slider("longest range", 1, _LONGEST)
        self.count = slider("number of ranges", 1, _MOST)
        self.directions = ComboBox(label="directions", choices=DIRECTIONS[2], value=8)
        self.stride = slider("stride", 1, _WIDEST)
        self.threshold = slider("foreground from", 0, 1, step=0.01)
        self.merge_size = slider("merge below", 0, _LARGEST)
        self.min_size = slider("remove below", 0, _LARGEST)
        self.reset = PushButton(text="The model's settings")
        self.state = message(NOTHING_YET)
        sliders = [self.own, self.longest, self.count, self.directions, self.stride, self.threshold]
        super().__init__(widgets=[*sliders, self.merge_size, self.min_size, self.reset, self.state])
        for one in (self.longest, self.count, self.directions):
            one.changed.connect(self._own_no_more)
        for one in (self.own, self.stride, self.threshold, self.merge_size, self.min_size):
            one.changed.connect(self._changed)
        self.reset.changed.connect(self.start_anew)
        self._desk.told.append(self.show)
        self.show(self._desk)

    @property
    def ranges(self) -> tuple[int, ...]:
        """The ranges that the sliders say."""
        return spread_ranges(self.longest.value, self.count.value)

    @property
    def choice(self) -> Choice:
        """What the sliders say."""
        own = self.own.value
        return Choice(
            ranges=None if own else self.ranges,
            directions=None if own else self.directions.value,
            stride=self.stride.value,
            threshold=self.threshold.value,
            merge_size=None if self.merge_size.value == self._own_merge_size() else self.merge_size.value,
            min_size=self.min_size.value,
        )

    def start_anew(self) -> None:
        """Bring the sliders, and the labels, to the model's settings."""
        self._take_settings()
        self._changed()

    def show(self, desk: Desk) -> None:
        """Say what the sliders did."""
        if desk.model is not None and desk.model is not self._shown:
            self._shown = desk.model
            self._take_settings()
        if desk.error or desk.bench is None:
            self.state.value = desk.error or NOTHING_YET
            return
        ranges = ", ".join(map(str, ranges_of(desk.bench.segmenter.config.neighborhood)))
        self.state.value = f"{desk.target.data.max()} objects; ranges {ranges}"

    def _own_no_more(self) -> None:
        if not self._quiet:
            self._quiet, self.own.value, self._quiet = True, False, False
            self._changed()

    def _changed(self) -> None:
        if not self._quiet:
            self._desk.choose(self.choice)

    def _own_merge_size(self) -> int:
        model = self._desk.model
        return 0 if model is None else min(_LARGEST, max(model.config.postprocess.merge_sizes, default=0))

    def _take_settings(self) -> None:
        if self._desk.model is None:
            return
        config, self._quiet = self._desk.model.config, True
        pairs = config.neighborhood
        self.own.value = True
        self.directions.choices = DIRECTIONS[pairs.ndim]
        self.directions.value = directions_of(pairs)
        self.longest.value = min(_LONGEST, ranges_of(pairs)[-1])
        self.count.value = min(_MOST, len(ranges_of(pairs)))
        self.stride.value = min(_WIDEST, max(pairs.strides))
        self.threshold.value = config.foreground_threshold
        self.merge_size.value = self._own_merge_size()
        self.min_size.value = min(_LARGEST, config.postprocess.min_size)
        self._quiet = False
