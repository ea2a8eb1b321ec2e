"""Small widgets that several panels have."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import FloatSlider, Label, Slider


def message(text: str = "") -> Any:
    """Return a line of text that breaks where the panel ends."""
    made = Label(label="", value=text)
    made.native.setWordWrap(True)
    return made


def slider(name: str, least: float, most: float, step: float = 1) -> Any:
    """Return a slider whose label says its value."""
    kind = Slider if step == 1 else FloatSlider
    made = kind(label=name, min=least, max=most, step=step, value=least, readout=False)

    def say(value: float) -> None:
        made.label = f"{name} {value:g}"

    made.changed.connect(say)
    say(least)
    return made
