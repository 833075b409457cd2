"""The look of the report: one style sheet, for light and dark, wide and narrow, and for print."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--page:#f6f5f1;--card:#fff;--ink:#1d2125;--soft:#5a626b;--line:#dedbd2;
--nextact:#0b6e5f;--rival:#b4530a;--rules:#5c6b8a;--popularity:#8a8f98;--hit:#d9efe9;--hit-ink:#084c42;--track:#eceae3}
@media (prefers-color-scheme:dark){:root{--page:#14171a;--card:#1c2125;--ink:#e9ebec;--soft:#a5adb5;--line:#30373d;
--nextact:#4fc3ae;--rival:#f0a35e;--rules:#a3b3d6;--popularity:#9aa1aa;--hit:#17403a;--hit-ink:#a9eadd;--track:#2a3035}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
header{margin-bottom:2rem}
.brand{font-weight:650;letter-spacing:.01em;color:var(--nextact);margin:0 0 .75rem}
h1{font-size:clamp(1.7rem,4.5vw,2.7rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 .6rem;text-wrap:balance}
h2{font-size:1.3rem;margin:0 0 .25rem;letter-spacing:-.01em}
h3{font-size:1rem;margin:0}
p{margin:.4rem 0}
.soft{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.4rem 1.5rem;margin:0 0 1.25rem}
.mark{display:inline-block;font-size:.75rem;font-weight:600;line-height:1;color:var(--rival);border:1px solid;
border-radius:99px;padding:.25em .6em;vertical-align:.2em;white-space:nowrap;letter-spacing:0}
.facts{display:flex;flex-wrap:wrap;gap:.4rem 2rem;margin:1.1rem 0 0;padding:0;list-style:none}
.facts b{display:block;font-size:1.15rem;font-variant-numeric:tabular-nums}
.facts span{color:var(--soft);font-size:.86rem}
.bars{display:grid;grid-template-columns:max-content 1fr max-content;gap:.75rem 1rem;align-items:center;
margin:1.2rem 0 .6rem}
.bars{grid-auto-flow:dense}
.bars .name{grid-column:1;font-weight:600}
.bars .value{grid-column:3}
.bars .track{grid-column:2}
.bars .value{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap}
.bars .value b{font-size:1.1rem}
.bars .value span{color:var(--soft);font-size:.86rem;margin-left:.4rem}
.track{position:relative;height:1.5rem;background:var(--track);border-radius:6px}
.fill{position:absolute;inset:0 auto 0 0;border-radius:6px}
.span{position:absolute;top:50%;height:2px;margin-top:-1px;background:var(--ink);box-shadow:0 0 0 1px var(--card)}
.span::before,.span::after{content:"";position:absolute;top:-4px;height:10px;width:2px;background:var(--ink);
box-shadow:0 0 0 1px var(--card)}
.span::after{right:0}
.nextact{background:var(--nextact)}.rival{background:var(--rival)}.rules{background:var(--rules)}
.popularity{background:var(--popularity)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;margin-top:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.5rem .75rem .5rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-size:.86rem;font-weight:600;color:var(--soft);vertical-align:bottom}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:9rem}
th:last-child,td:last-child{padding-right:0}
tbody th{color:var(--ink);font-weight:500;font-size:1rem}
tr:last-child>*{border-bottom:0}
td small{color:var(--soft)}
td.best{font-weight:700}
details{border-top:1px solid var(--line)}
details:first-of-type{margin-top:.8rem}
summary{cursor:pointer;padding:.8rem 0;display:flex;gap:.75rem;align-items:baseline;flex-wrap:wrap}
summary:focus-visible{outline:2px solid var(--nextact);outline-offset:3px;border-radius:4px}
summary h3{overflow-wrap:anywhere}
summary::before{content:"\\25B8";color:var(--soft)}
details[open]>summary::before{content:"\\25BE"}
summary::-webkit-details-marker{display:none}
ol.path{list-style:none;margin:0 0 1.2rem;padding:0 0 0 1.1rem;border-left:2px solid var(--line)}
ol.path>li{position:relative;padding:.15rem 0 .9rem}
ol.path>li::before{content:"";position:absolute;left:calc(-1.1rem - 6px);top:.6rem;width:10px;height:10px;
border-radius:50%;background:var(--line)}
ol.path>li.found::before{background:var(--nextact)}
.did b{font-weight:600}
.said{display:flex;flex-wrap:wrap;gap:.35rem;margin:.35rem 0 .2rem;padding:0;list-style:none}
.said li{border:1px solid var(--line);border-radius:8px;padding:.1rem .55rem;font-size:.88rem;overflow-wrap:anywhere}
.said li.hit{background:var(--hit);color:var(--hit-ink);border-color:transparent;font-weight:600}
.then{font-size:.92rem}
footer{color:var(--soft);font-size:.88rem}
td.best small{font-weight:400}
@media (max-width:40rem){.bars{grid-template-columns:1fr max-content;gap:.3rem .75rem}.bars .value{grid-column:2}
.bars .track{grid-column:1/-1;margin-bottom:.6rem}.card{padding:1.1rem 1rem}}
@media print{body{background:#fff}.card{break-inside:avoid;border-color:#ccc}}
"""
