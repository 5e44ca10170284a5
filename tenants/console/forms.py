"""Forms in the console's look, whose choices are the actor's tenant's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.forms.widgets import Input
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import (
    CHECKBOX_CLASSES,
    INPUT_CLASSES,
    SELECT_CLASSES,
    TEXTAREA_CLASSES,
    UnfoldAdminCheckboxSelectMultipleWidget,
)

from tenants.actors import Actor
from tenants.problems import Problem

#: The first that fits is taken: a multiple choice is a select too.
_LOOKS: tuple[tuple[type[forms.Widget], list[str]], ...] = (
    (forms.CheckboxInput, CHECKBOX_CLASSES),
    #: With the browser's own arrow.
    (forms.Select, [name for name in SELECT_CLASSES if name != "appearance-none"]),
    (forms.Textarea, TEXTAREA_CLASSES),
    (Input, INPUT_CLASSES),
)


@dataclass(frozen=True)
class FieldGroup:
    """Fields that belong together, under one title."""

    title: str
    names: Sequence[str]
    intro: str = ""


class DateInput(forms.DateInput):
    """The browser's own date picker."""

    input_type = "date"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%d")


class MomentInput(forms.DateTimeInput):
    """The browser's own picker of a day and a time."""

    input_type = "datetime-local"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%dT%H:%M")


#: Some of many, each with a box to tick; templates go by the class's own name.
CheckboxList = UnfoldAdminCheckboxSelectMultipleWidget


class ConsoleForm(forms.Form):
    """A form of one service call; what the service refuses is shown above it."""

    #: Empty: the fields follow one another without titles.
    field_groups: ClassVar[Sequence[FieldGroup]] = ()
    #: Which field a service means by a name that the form does not have.
    problem_fields: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        self.actor = actor
        super().__init__(*args, **kwargs)
        self.fill_choices()
        for field in self.fields.values():
            _dress(field.widget)
            if isinstance(field, forms.DateTimeField):
                zone = timezone.get_current_timezone_name()
                field.help_text = f"{field.help_text} In the time of {zone}.".strip()

    def fill_choices(self) -> None:
        """Set the choices that depend on the actor's tenant."""

    def refuse(self, problem: Problem) -> None:
        """Say what the service refused, at the field that it names, if it names one."""
        text = str(problem) or problem.title
        name, _, words = text.partition(": ")
        field = self.problem_fields.get(name, name)
        if words and field in self.fields:
            self.add_error(field, words[:1].upper() + words[1:])
        else:
            self.add_error(None, text)

    def refusals(self) -> list[str]:
        """Return what is said above the form; empty: nothing was refused."""
        above = [str(error) for error in self.non_field_errors()]
        if above or not self.errors:
            return above
        return ["Nothing is saved: see what is marked below."]

    def grouped(self) -> list[tuple[FieldGroup, list[forms.BoundField]]]:
        """Return the groups, each with its fields."""
        groups = self.field_groups or (FieldGroup("", tuple(self.fields)),)
        return [(group, [self[name] for name in group.names]) for group in groups]


def _dress(widget: forms.Widget) -> None:
    if isinstance(widget, CheckboxList):
        return
    for kind, classes in _LOOKS:
        if isinstance(widget, kind):
            widget.attrs["class"] = " ".join(classes)
            return


class Suggest(forms.TextInput):
    """A text field that suggests some of what there is, however much that is."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.suggestions: Sequence[str] = ()

    def render(
        self,
        name: str,
        value: Any,
        attrs: dict[str, Any] | None = None,
        renderer: Any = None,
    ) -> SafeString:
        """Return the field and its list."""
        list_id = f"suggest-{name}"
        field = super().render(
            name, value, {**(attrs or {}), "list": list_id}, renderer
        )
        options = format_html_join(
            "", '<option value="{}">', zip(self.suggestions, strict=True)
        )
        return format_html('{}<datalist id="{}">{}</datalist>', field, list_id, options)
