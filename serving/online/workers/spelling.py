"""Views in JSON's terms, as the control socket carries them: what is ready is named by its key."""

from collections.abc import Mapping
from typing import Any

from ..view import Entry, State, V, View

Spelled = Mapping[str, Any]


def spell_view(view: View[V], keys: Mapping[int, V]) -> Spelled:
    """Return a view in JSON's terms, given what is open by its key."""
    key_of = {id(servable): key for key, servable in keys.items()}
    return {
        "ready": [[s.name, s.version, key_of[id(s)]] for s in view.servables()],
        "entries": [[e.name, e.version, e.state.value, e.reason] for e in view.index()],
    }


def read_view(spelled: Spelled, keys: Mapping[int, V]) -> View[V]:
    """Return the view that was spelled, over what is open here by the same keys."""
    ready: dict[str, dict[int, V]] = {}
    for name, version, key in spelled["ready"]:
        ready.setdefault(name, {})[version] = keys[key]
    entries = {
        (name, version): Entry(name, version, State(state), reason)
        for name, version, state, reason in spelled["entries"]
    }
    return View(ready, entries)
