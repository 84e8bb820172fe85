"""The plans of models that were trained for them: a tally, or an outline, each opened by its mark.

Nothing is said of plans in the prompt: what a stream is for is told by the token that opens it. So the same prompt
serves every form, and training and serving cannot drift apart.
"""

from __future__ import annotations

from grammars.errors import ConfigurationError
from grammars.marks import Marks
from grammars.plan_forms import Joint, PlanForm, Tally

ORDINAL = "{number} of {count}"
"""The subject of a call that is known by its number only."""


def marked_outline(marks: Marks) -> Joint:
    """The outline of names and subjects."""
    return Joint(name="outline", asked="", opening=marks.outline)


def marked_tally(marks: Marks) -> Tally:
    """One digit a tool; the calls then go by ordinals."""
    return Tally(name="tally", asked="", opening=marks.tally + "{name}:", subject=ORDINAL)


def marked_form(name: str, marks: Marks) -> PlanForm:
    """The form of this name for a trained model, or a `ConfigurationError` that lists those there are."""
    forms: dict[str, PlanForm] = {form.name: form for form in (marked_tally(marks), marked_outline(marks))}
    if name not in forms:
        raise ConfigurationError(f"a trained model has no form of plan {name!r}; there are {', '.join(forms)}")
    return forms[name]
