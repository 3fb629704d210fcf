"""The page "Explain it to me": it takes the place of the controls until *Back* is pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_diffusion.ui.explain.drawing import FigureView
from napari_diffusion.ui.explain.figures import Figure
from napari_diffusion.ui.explain.own_slice import slice_reader
from napari_diffusion.ui.explain.pictures import Picture, sample_picture
from napari_diffusion.ui.explain.topics import TOPICS
from napari_diffusion.ui.form.header import documentation_url
from napari_diffusion.ui.qt.layout import VerticalScrollArea, hold_height, wrap
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.run.messages import screen_message
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl

#: Time for which a position is shown while the figure plays, and for the last position [ms].
TICK_MS, LAST_TICK_MS = 140, 1500
#: Delay between a change of the slice and the new figure [ms].
FOLLOW_DELAY_MS = 300
OWN, SAMPLE = "On your image.", "On a sample picture."
#: Number of lines that the longest text has in a dock of the usual width.
TEXT_LINES = 6
COMPUTING = "Computing the figure…"
PLAY, PAUSE = "▶", "❚❚"


class ExplainPage(VerticalScrollArea):
    """Explanations of a few words, with figures made of the slice on screen.

    Parameters
    ----------
    context
        The widget: its viewer, its layer, and the signal of another layer.

    Attributes
    ----------
    topics, slider, play, back, documentation
        Buttons of the topics, position in the figure, the buttons Play and Back, and a link, which
        is hidden where the installation names no address.
    view, caption, text
        Figure, its caption, and the explanation.
    """

    #: *Back* was pressed.
    left = Signal()

    def __init__(self, context: Any) -> None:
        content = QWidget()
        super().__init__(content)
        self._context = context
        self._topic = TOPICS[0]
        self._figure: Figure | None = None
        self._figures: dict[str, Figure] = {}
        self._task = ReplaceableTask()
        self._make_controls()
        self._arrange(content)
        self._tick = single_shot(self, TICK_MS, self._advance)
        self._follow = single_shot(self, FOLLOW_DELAY_MS, self._slice_changed)
        self.back.clicked.connect(self._go_back)
        self.play.clicked.connect(self._play_or_pause)
        self.slider.valueChanged.connect(self._show_position)
        self.slider.sliderPressed.connect(self._pause)
        self._group.idClicked.connect(self._choose)
        context.viewer.dims.events.current_step.connect(self._follow_slice)
        context.layer_changed.connect(self._follow_slice)
        context.on_close(self._end)
        self.hide()

    def _make_controls(self) -> None:
        self.back = QPushButton("‹ Back")
        self.back.setToolTip("Back to the controls.")
        self.back.setAccessibleName("Back to the controls")
        self._group = QButtonGroup(self)
        self.topics = []
        for number, topic in enumerate(TOPICS):
            button = QPushButton(topic.title)
            button.setCheckable(True)
            button.setToolTip(f"What {topic.title.lower()} means, with an animated figure.")
            button.setAccessibleName(f"Explain {topic.title.lower()}")
            self._group.addButton(button, number)
            self.topics.append(button)
        self.topics[0].setChecked(True)
        self.view = FigureView()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip("Drag to see the effect.")
        self.slider.setAccessibleName("Position in the figure")
        self.play = QPushButton(PLAY)
        self.play.setToolTip("Play the figure, or stop it.")
        self.play.setAccessibleName("Play or stop the figure")
        self.play.setFixedWidth(36)
        url = documentation_url()
        self.documentation = QLabel(f'<a href="{url}">Documentation</a>')
        self.documentation.setOpenExternalLinks(True)
        self.documentation.setToolTip(f"Opens {url} in the browser.")
        if url is None:
            self.documentation.hide()
        self.caption, self.text, self._control = (QLabel() for _ in range(3))
        for label in (self.caption, self.text, self._control):
            wrap(label)

    def _arrange(self, content: QWidget) -> None:
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 4, 6, 4)
        top = QHBoxLayout()
        top.addWidget(self.back)
        top.addStretch(1)
        top.addWidget(self.documentation)
        column.addLayout(top)
        for buttons in (self.topics[:2], self.topics[2:]):
            row = QHBoxLayout()
            row.setSpacing(4)
            for button in buttons:
                row.addWidget(button)
            column.addLayout(row)
        row = QHBoxLayout()
        row.addWidget(self.text)
        # Figures stay in place for all topics.
        hold_height(row, QLabel("\n" * (TEXT_LINES - 1)), self.text)
        column.addLayout(row)
        column.addWidget(self.view)
        column.addWidget(self._control)
        row = QHBoxLayout()
        row.addWidget(self.play)
        row.addWidget(self.slider, 1)
        column.addLayout(row)
        column.addWidget(self.caption)
        column.addStretch(1)

    def fail(self, error: Exception) -> None:
        """Show an error in the place of the caption."""
        self.caption.setText(screen_message(error))

    # ---- open, close

    def open(self) -> None:
        """Show the page and compute its figure."""
        self._figures.clear()
        self.show()
        self._show_topic()

    @slot
    def _end(self) -> None:
        """Cancel the work of a page whose Qt objects may be gone."""
        self._task.drop()
        self._figures.clear()
        self._context.viewer.dims.events.current_step.disconnect(self._follow_slice)

    def stop(self) -> None:
        """End all work of the page and forget its figures."""
        self._task.drop()
        self._figures.clear()
        self._figure = None
        self._tick.stop()
        self._follow.stop()
        self.view.show_figure(None)

    @slot
    def _go_back(self) -> None:
        self.stop()
        self.hide()
        self.left.emit()

    def hideEvent(self, a0: QHideEvent | None) -> None:
        """Stop the animation of a page that nobody sees."""
        self._pause()
        super().hideEvent(a0)

    # ---- topic, figure

    @slot
    def _choose(self, number: int) -> None:
        self._topic, self._figure = TOPICS[number], None
        self.view.show_figure(None)
        self._show_topic()

    @slot
    def _follow_slice(self) -> None:
        if self.isVisible():
            self._follow.start()

    @slot
    def _slice_changed(self) -> None:
        self._figures.clear()
        self._show_topic()

    def _show_topic(self) -> None:
        """Show the chosen topic; its figure is computed in a thread unless it is known."""
        topic = self._topic
        self.text.setText(topic.text)
        self._control.setText(f"{topic.control}:")
        self.slider.setAccessibleName(topic.control)
        self.slider.setToolTip(f"{topic.control}: drag to see its effect.")
        known = self._figures.get(topic.title)
        if known is not None:
            self._show_figure(known)
            return
        self._pause()
        self.caption.setText(COMPUTING)
        read = slice_reader(self._context.viewer, self._context.layer)

        def work(control: TaskControl) -> Figure:
            return topic.make(_picture(read), control.cancel)

        def done(figure: Figure) -> None:
            self._figures[topic.title] = figure
            self._show_figure(figure)

        self._task.start(work, done, self.fail)

    def _show_figure(self, figure: Figure) -> None:
        self._figure = figure
        self.slider.blockSignals(True)
        self.slider.setRange(0, figure.positions - 1)
        self.slider.setValue(figure.start)
        self.slider.blockSignals(False)
        self._show_position()
        if figure.start == 0 and self.isVisible():
            self._play()

    @slot
    def _show_position(self) -> None:
        figure = self._figure
        if figure is not None:
            position = self.slider.value()
            self.view.show_figure(figure, position)
            place = OWN if figure.own else SAMPLE
            self.caption.setText(f"{figure.captions[position]} {place}")

    # ---- animation

    @slot
    def _play_or_pause(self) -> None:
        if self._tick.isActive():
            self._pause()
        else:
            self._play()

    def _play(self) -> None:
        self.play.setText(PAUSE)
        self._tick.start(TICK_MS)

    @slot
    def _pause(self) -> None:
        self.play.setText(PLAY)
        self._tick.stop()

    @slot
    def _advance(self) -> None:
        if self._figure is None:
            return
        last = self._figure.positions - 1
        position = self.slider.value() + 1
        self.slider.setValue(0 if position > last else position)
        self._tick.start(LAST_TICK_MS if self.slider.value() == last else TICK_MS)


def _picture(read: Callable[[], Picture] | None) -> Picture:
    """Return the picture of the user's slice, or a sample where it cannot be read."""
    if read is not None:
        try:
            return read()
        except Exception:  # what the library of a lazy array raises
            return sample_picture()
    return sample_picture()
