"""Rejection reasons, with the cause and the remedy that the code gives them."""

from enum import Enum
from typing import Any

from code_reference.markdown import code, prose, table


def reasons(enum_name: str) -> Any:
    """
    Return an enum of reasons.

    Raises
    ------
    ValueError
        If there is no enum of that name.
    """
    from nerf_reversal_ros.core import outcome

    found = getattr(outcome, enum_name, None)
    if not (isinstance(found, type) and issubclass(found, Enum)):
        raise ValueError(f'{outcome.__name__} has no enum {enum_name}')
    return found


def reasons_markdown(enum_name: str) -> list[str]:
    """Return a table of the reasons of an enum, in their order."""
    rows = [
        [code(reason.value), prose(reason.cause), prose(reason.remedy)]
        for reason in reasons(enum_name)
    ]
    return table(['Reason', 'Cause', 'Remedy'], rows)
