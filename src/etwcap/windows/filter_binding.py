"""To which adapters a filter driver is bound, as the registry has it: no rights are needed, and nothing changes.

Windows writes each adapter's filter drivers into ``Linkage\\FilterList`` of its key in the class of network adapters,
as "{adapter}-{filter}-number". Source: the keys of machines with and without such a filter, as published by others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from etwcap.windows import registry

_FILTERS = r"SYSTEM\CurrentControlSet\Control\Network\{4d36e974-e325-11ce-bfc1-08002be10318}"
_ADAPTERS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e972-e325-11ce-bfc1-08002be10318}"

Value = Callable[[str, str], "int | str | bytes | list[str] | None"]
SubKeys = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class FilterBinding:
    """Adapters by GUID (``{…}``, upper case): those that the filter is bound to, and the others."""

    bound: frozenset[str] = frozenset()
    unbound: frozenset[str] = frozenset()


def filter_binding(
    component: str, *, value: Value = registry.value, subkeys: SubKeys = registry.subkeys
) -> FilterBinding | None:
    """To which adapters the filter driver of that component ("ms_ndiscap") is bound; None where it is not installed.

    Raises WindowsCallError where the registry cannot be read, NotHereError off Windows.
    """
    guid = next((each for each in subkeys(_FILTERS) if _is(value(rf"{_FILTERS}\{each}", "ComponentId"), component)), "")
    if not guid:
        return None
    bound: set[str] = set()
    unbound: set[str] = set()
    for number in subkeys(_ADAPTERS):
        if not number.isdigit():
            continue  # "Properties" and others are none, and may not be read
        adapter = value(rf"{_ADAPTERS}\{number}", "NetCfgInstanceId")
        if not isinstance(adapter, str):
            continue
        filters = value(rf"{_ADAPTERS}\{number}\Linkage", "FilterList")
        wanted = f"{adapter}-{guid}-".casefold()
        listed = isinstance(filters, list) and any(each.casefold().startswith(wanted) for each in filters)
        (bound if listed else unbound).add(adapter.upper())
    return FilterBinding(frozenset(bound), frozenset(unbound))


def _is(found: object, component: str) -> bool:
    return isinstance(found, str) and found.casefold() == component.casefold()
