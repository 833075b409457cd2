"""The rights of the roles as rows of the table in deploy/README.md."""

from __future__ import annotations

from collections import defaultdict

from stream_app.contract.access import Grant, grants
from stream_app.settings import Settings

KINDS = {"Topic": "topic", "Group": "group", "TransactionalId": "transactional id"}


def access_rows(settings: Settings) -> list[str]:
    """Rows of role, rights, resource and reasons."""
    found: defaultdict[tuple[str, str], list[Grant]] = defaultdict(list)
    for right in grants(settings):
        found[right.role, f"{KINDS[right.resource]} `{right.name}{'*' * right.prefixed}`"].append(right)
    return [
        f"| {role} | {', '.join(right.operation for right in rights)} | {on} | {'; '.join(_reasons(rights))} |"
        for (role, on), rights in found.items()
    ]


def _reasons(rights: list[Grant]) -> list[str]:
    reasons = [right.why for right in rights if right.operation != "DescribeConfigs"]
    return list(dict.fromkeys(reasons))
