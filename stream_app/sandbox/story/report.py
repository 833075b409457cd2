"""Writes the report: one HTML file that needs nothing else, neither scripts nor a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_app.contract.profiles.reason_words import reason_text
from stream_app.sandbox.story.headline import SIMULATED, points, tellers_of
from stream_app.sandbox.story.outcomes import NAMES, Columns, Teller
from stream_app.sandbox.story.paths import Step
from stream_app.sandbox.story.seen_events import SeenEvent
from stream_app.sandbox.story.story import Story
from stream_app.sandbox.story.style import STYLE

_CATEGORIES: Final = 15  # rows, the largest; the others are one row
_SAID: Final = 5  # recommendations of a step that are shown, and the one that was right


@dataclass(frozen=True, slots=True)
class Frame:
    """What the report says beside what was counted."""

    source: str  # name of the log; "": the simulated shop
    when: str  # it was written
    facts: Mapping[str, str]  # figures by what they are
    title_of: Callable[[str], str]  # an item's title, "" where it has none

    @property
    def mark(self) -> str:
        """What stands beside every figure that is no shop's own."""
        return "" if self.source else f' <span class="mark">{SIMULATED}</span>'


def report_html(story: Story, frame: Frame) -> str:
    """Returns the report."""
    columns, tellers = story.outcomes.columns(), tellers_of(story)
    body = [_header(columns, frame), _shares(columns, tellers, frame)]
    if len(columns):
        body += [
            _categories(columns, tellers, story.outcomes.categories, frame),
            _new_and_known(columns, tellers, frame),
            _paths(story.paths.shown(), frame),
        ]
    title = escape(f"nextact: {frame.source or SIMULATED}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n"
        + _footer(frame)
        + "\n</main></body></html>\n"
    )


def _header(columns: Columns, frame: Frame) -> str:
    share = columns.share("nextact")
    if len(columns):
        said = f"{100 * share.mean:.1f} % of the next items were among the 20 that nextact named"
    else:
        said = "Nothing was counted yet: the run ended before anybody's next item"
    source = f"Your log <b>{escape(frame.source)}</b>" if frame.source else "A <b>simulated shop</b>, not a real one"
    facts = "".join(
        f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for name, value in frame.facts.items()
    )
    return (
        f'<header><p class="brand">nextact</p><h1>{said}{frame.mark}</h1>'
        f'<p class="soft">{source}, replayed through a real Kafka, worker and trainer. {escape(frame.when)}</p>'
        f'<ul class="facts">{facts}</ul></header>'
    )


def _shares(columns: Columns, tellers: Sequence[Teller], frame: Frame) -> str:
    shares = {teller: columns.share(teller) for teller in tellers}
    rows = []
    for teller, share in shares.items() if len(columns) else ():
        left, width = 100 * share.low, 100 * (share.high - share.low)
        rows.append(
            f'<div class="name">{NAMES[teller]}</div><div class="value"><b>{100 * share.mean:.1f} %</b>'
            f'<span>{100 * share.low:.1f} to {100 * share.high:.1f}</span></div><div class="track">'
            f'<div class="fill {teller}" style="width:{100 * share.mean:.2f}%"></div>'
            f'<div class="span" style="left:{left:.2f}%;width:{width:.2f}%"></div></div>'
        )
    return _card(
        f"How often the next item was among 20{frame.mark}",
        f"{len(columns):,} next items of {len(np.unique(columns.users)):,} shoppers. Each action on an item scores "
        "what was published after the same shopper's action before it.",
        f'<div class="bars">{"".join(rows)}</div>{_gains(columns, tellers)}'
        '<p class="soft">The lines are 95 % intervals over shoppers, whose items hang together and count as fewer.</p>',
    )


def _gains(columns: Columns, tellers: Sequence[Teller]) -> str:
    if not len(columns):
        return ""
    said = [f"{points(columns.gain(teller))} against {NAMES[teller]}" for teller in tellers if teller != "nextact"]
    lines = f"<p>nextact, item by item: {'; '.join(said)}.</p>"
    if "rival" in tellers and not columns.flag(3).all():
        share = columns.flag(3).mean()
        lines += (
            f"<p>The shop had shown the shopper a list before {100 * share:.1f} % of them; the others are misses.</p>"
        )
    if not columns.trained:
        lines += "<p>No version was trained in this run: nextact's own rules answered.</p>"
    return lines


def _categories(columns: Columns, tellers: Sequence[Teller], names: Sequence[str], frame: Frame) -> str:
    counts = np.bincount(columns.categories, minlength=len(names))
    largest = [int(number) for number in np.argsort(-counts, kind="stable")[:_CATEGORIES] if counts[number]]
    rows = [(names[number] or "category not known", columns.categories == number) for number in largest]
    if (rest := ~np.isin(columns.categories, largest)).any():
        rows.append((f"all {np.count_nonzero(counts) - len(largest):,} others", rest))
    table = _table("Category of the next item", columns, tellers, rows)
    return _card(f"By category{frame.mark}", "The largest first.", table)


def _new_and_known(columns: Columns, tellers: Sequence[Teller], frame: Frame) -> str:
    new_user, new_item = columns.flag(0), columns.flag(1)
    rows = [
        ("known shoppers, known items", ~new_user & ~new_item),
        ("new shoppers, known items", new_user & ~new_item),
        ("known shoppers, new items", ~new_user & new_item),
        ("new shoppers, new items", new_user & new_item),
    ]
    about = "Known: there before the part that was counted. Nobody can name an item before it was ever seen."
    return _card(f"New and known{frame.mark}", about, _table("Next items of", columns, tellers, rows))


def _table(
    head: str, columns: Columns, tellers: Sequence[Teller], rows: Iterable[tuple[str, NDArray[np.bool_]]]
) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("next items", *(NAMES[teller] for teller in tellers)))
    lines = []
    for name, chosen in rows:
        part = columns.where(chosen)
        shares = [part.share(teller) for teller in tellers]
        best = max(share.mean for share in shares)
        cells = "".join(
            f"<td{' class=best' if share.mean == best > 0 else ''}>{100 * share.mean:.1f} % "
            f"<small>{100 * share.low:.0f}-{100 * share.high:.0f}</small></td>"
            if share.targets
            else "<td>-</td>"
            for share in shares
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th><td>{len(part):,}</td>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(head)}"><table><thead><tr>'
        f'<th scope="col">{escape(head)}</th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _paths(paths: Sequence[Sequence[Step]], frame: Frame) -> str:
    shown = "".join(_path(path, frame, opened=number < 3) for number, path in enumerate(paths))
    return _card(
        f"{len(paths)} shoppers, drawn at random{frame.mark}",
        "What each did, what nextact named then, and what came next.",
        shown,
    )


def _path(path: Sequence[Step], frame: Frame, *, opened: bool) -> str:
    found = sum(step.rank is not None for step in path)
    steps = "".join(f'<li class="{"found" if step.rank else "missed"}">{_step(step, frame)}</li>' for step in path)
    return (
        f"<details{' open' if opened else ''}><summary><h3>{escape(path[0].event.user)}</h3>"
        f'<span class="soft">{found} of {len(path)} next items among 20{frame.mark}</span></summary>'
        f'<ol class="path">{steps}</ol></details>'
    )


def _step(step: Step, frame: Frame) -> str:
    items = [one.item_id for one in step.prediction.recommendations]
    chips = "".join(
        f'<li class="{"hit" if number + 1 == step.rank else "other"}">{_name(item, frame)}</li>'
        for number, item in enumerate(items)
        if number < _SAID or number + 1 == step.rank
    )
    if step.rank is None:
        then = f"then {_did(step.target, frame)}, which was not among the {len(items)}"
    else:
        then = f"then {_did(step.target, frame)}, named as number {step.rank}"
    why = "; ".join(_reasons(step, frame))
    why = f' <span class="soft">{why}</span>' if why else ""
    return (
        f'<div class="did">{_did(step.event, frame)}</div>'
        f'<ul class="said">{chips}</ul><div class="then">{then}.{why}</div>'
    )


def _did(event: SeenEvent, frame: Frame) -> str:
    if event.item is None:
        return f"searched for <b>{escape(event.query or '')}</b>"
    words = {"purchase": "bought", "cart": "put into the cart", "favorite": "liked", "remove": "removed"}
    return f"{words.get(event.type, 'looked at')} <b>{_name(event.item, frame)}</b>"


def _reasons(step: Step, frame: Frame) -> Iterator[str]:
    """Yields why the item that came next had been named, or else the first one."""
    reasons = {one.item_id: one.because for one in step.prediction.reasons or ()}
    wanted = step.target.item if step.rank is not None and step.target.item in reasons else None
    if wanted is None and step.prediction.recommendations:
        wanted = step.prediction.recommendations[0].item_id
    because = reasons.get(wanted or "", [])
    if because:
        said = reason_text(because[0], lambda item: frame.title_of(item) or item)
        yield f"Why {_name(wanted or '', frame)}: {escape(said)}."


def _name(item: str, frame: Frame) -> str:
    return escape(frame.title_of(item) or item)


def _card(title: str, about: str, content: str) -> str:
    return f'<section class="card"><h2>{title}</h2><p class="soft">{about}</p>{content}</section>'


def _footer(frame: Frame) -> str:
    others = (
        "Rules that learn live: what followed the item before, the shopper's own items, what is popular; computed "
        "beside the stream with the code of the worker's own rules. Popularity: what is popular of late."
    )
    personal = " This page names users of your log: treat it as personal data." if frame.source else ""
    return f"<footer><p>{others}</p><p>Written by nextact demo.{personal}</p></footer>"
