"""Rejection reasons: those of the localizer, and those that the nodes add."""

from code_reference.markdown import code, prose, table
from code_reference.python_source import REPOSITORY
from code_reference.ros_interfaces import constants


def reasons_markdown() -> list[str]:
    """Return a table of the reasons of the localizer, in the order in which they are checked."""
    from nerf_reversal_ros.core.outcome import RejectionReason

    rows = [
        [code(reason.value), prose(reason.cause), prose(reason.remedy)]
        for reason in RejectionReason
    ]
    return table(['Reason', 'Cause', 'Remedy'], rows)


def message_reasons(path: str) -> dict[str, str]:
    """Return the reasons that are constants of a message, with their comments."""
    text = REPOSITORY.joinpath(path).read_text(encoding='utf-8')
    return {value: entry.comment for value, entry in constants(text).items()}


def message_reasons_markdown(path: str) -> list[str]:
    """Return a table of the reasons of a message, with what its comments say."""
    from nerf_reversal_ros.core.outcome import RejectionReason

    known = {reason.value for reason in RejectionReason}
    rows = [
        [code(value), prose(comment)]
        for value, comment in message_reasons(path).items()
        if value not in known
    ]
    return table(['Reason', 'Meaning'], rows)
